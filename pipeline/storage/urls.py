"""Where a survey or its results are: a path of this machine, or s3://BUCKET/PREFIX."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from crackmap.calibration.errors import InputError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")


@dataclass(frozen=True, slots=True)
class BucketUrl:
    """A prefix of keys in a bucket, which stands for a folder.

    Attributes:
        bucket: its name.
        prefix: without a slash at its ends; empty for the whole bucket.
    """

    bucket: str
    prefix: str = ""

    @property
    def name(self) -> str:
        """What a folder would be called: the last part."""
        return self.prefix.rpartition("/")[2] or self.bucket

    @property
    def parent(self) -> BucketUrl:
        """The prefix above."""
        return BucketUrl(self.bucket, self.prefix.rpartition("/")[0])

    def key(self, name: str) -> str:
        """The key of what lies below it."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def __truediv__(self, name: str) -> BucketUrl:
        return BucketUrl(self.bucket, self.key(name))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" if self.prefix else f"s3://{self.bucket}"


Location = Path | BucketUrl
"""A folder or file of this machine, or a prefix in a bucket."""


def is_url(text: str) -> bool:
    """Whether a text begins as a URL does, not as a path."""
    return _SCHEME.match(text) is not None


def location(text: str) -> Location:
    """The place that a user named.

    Raises:
        InputError: a URL of another kind than s3://, or one that names no bucket, or a prefix no folder could have.
    """
    scheme = _SCHEME.match(text)
    if scheme is None:
        return Path(text)
    if scheme[1].lower() != "s3":
        raise InputError(f"{scheme[1]}://...: expected a folder of this machine or s3://BUCKET/PREFIX; copy the files "
                         "to one of them")  # fmt: skip
    bucket, _, prefix = text[scheme.end() :].partition("/")
    if not _BUCKET.fullmatch(bucket):
        # What stands there may be a password: it is not repeated.
        raise InputError("s3://...: expected s3://BUCKET/PREFIX, with the name of a bucket alone (no user, password, "
                         "port or server); the server is named by the variable AWS_ENDPOINT_URL")  # fmt: skip
    prefix = prefix.removesuffix("/")
    if prefix and (problem := key_problem(prefix)):
        raise InputError(f"s3://{bucket}/...: this prefix cannot be used ({problem}); rename the objects")
    return BucketUrl(bucket, prefix)


def key_problem(key: str) -> str:
    """Why the key of an object cannot be the name of a file; empty if it can."""
    parts = key.split("/")
    if "\0" in key:
        return "it holds a NUL"
    if any(part in (".", "..") for part in parts):
        return "a part of it is . or .."
    if "" in parts:
        return "it begins with a slash, or has two in a row"
    if (
        any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts)
        or len(key.encode(errors="replace")) > 1024
    ):
        return "it is longer than names of files are"
    return ""
