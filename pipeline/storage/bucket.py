"""One bucket of an S3 server: a few requests, each with a time limit, tried again, and checked.

boto3 is spoken to directly: what must not change while it is read, or must not be there yet, is said with conditional
requests (If-Match, If-None-Match), and every request has one time limit and one rule of trying again.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache, partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from crackmap.calibration.errors import InputError, StorageError
from crackmap.pipeline.storage.refusals import (
    ChangedObjectError,
    changed,
    client_reason,
    endpoint_url,
    hopeless,
    not_asked,
    refused,
    short,
    worth_again,
)
from crackmap.pipeline.storage.urls import BucketUrl

PART_BYTES = 8 << 20
"""Larger objects are fetched in parts of this size, side by side."""

PUT_PART_BYTES = 16 << 20
"""Larger files are put in parts of this size: 10,000 of them, the most S3 takes, are 160 GB."""

SIDE_BY_SIDE = 4
"""Parts of one object that are fetched at a time."""

MOST_CONNECTIONS = 32

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        connect_s, read_s: for a connection, and for the next bytes.
        whole_s: for a request with its whole answer: a server that sends a byte now and then keeps nobody waiting.
        tries: of each request.
        pause_s: before the second one; twice as long before each further one.
    """

    connect_s: float = 10.0
    read_s: float = 30.0
    whole_s: float = 120.0
    tries: int = 8
    pause_s: float = 0.25


PATIENCE = Patience()

HASTE = Patience(connect_s=5.0, read_s=10.0, tries=2)
"""For what is done again soon, or saved when a run is stopped: Ctrl-C must not wait for a network that is gone."""


@dataclass(frozen=True, slots=True)
class Item:
    """An object as it was listed.

    Attributes:
        key: its whole key.
        size_bytes, mtime_ns: its size, and when it was put there; the fraction of the second, which S3 does not tell,
            comes from the ETag, so that what is replaced within a second has another time.
        etag: changes with its content.
    """

    key: str
    size_bytes: int
    mtime_ns: int
    etag: str


class Store:
    """One bucket; made by `open_store`. Safe to use from several threads."""

    def __init__(self, bucket: str, client: Any, patience: Patience) -> None:
        self._bucket, self._client, self._patience = bucket, client, patience

    def list(self, prefix: str, *, deep: bool = True) -> Iterator[Item]:
        """The objects whose keys begin with `prefix`, in the order of their keys.

        Args:
            prefix: with its slash at the end.
            deep: also those whose keys have further slashes behind it.
        """
        more: dict[str, str] = {} if deep else {"Delimiter": "/"}
        while True:
            request = {"Bucket": self._bucket, "Prefix": prefix, **more}
            page = self._try(f"listing s3://{self._bucket}/{prefix}", partial(self._client.list_objects_v2, **request))
            for item in page.get("Contents", ()):
                yield Item(item["Key"], int(item["Size"]), _moment(item), item["ETag"])
            if not page.get("IsTruncated"):
                return
            more["ContinuationToken"] = page["NextContinuationToken"]

    def look(self, key: str) -> Item | None:
        """What is known of one object; None if there is none."""
        try:
            answer = self._try(self._name(key), lambda: self._client.head_object(Bucket=self._bucket, Key=key))
        except ChangedObjectError:
            return None
        return Item(key, int(answer["ContentLength"]), _moment(answer), answer["ETag"])

    def read_range(self, item: Item, start: int, length: int) -> bytes:
        """Bytes of an object as it was listed, fewer where it ends.

        Raises:
            ChangedObjectError: it is another one now, or gone.
            InputError, StorageError: it cannot be had.
        """
        length = min(length, item.size_bytes - start)
        if length <= 0:
            return b""
        return self._try(self._name(item.key), lambda: self._part(item, start, length))

    def fetch(self, item: Item, path: Path) -> None:
        """Writes an object as it was listed to `path`; on failure nothing is left there.

        Raises:
            ChangedObjectError: it is another one now, or gone.
            InputError, StorageError: it cannot be had, or not be written.
        """
        starts = range(0, item.size_bytes, PART_BYTES)
        try:
            with path.open("wb") as file:
                file.truncate(item.size_bytes)

                def part(start: int) -> None:
                    os.pwrite(file.fileno(), self.read_range(item, start, PART_BYTES), start)

                if len(starts) == 1:
                    part(0)
                elif starts:
                    with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(starts)), thread_name_prefix="fetch") as pool:
                        # The first failure ends it; parts that wait are not begun.
                        for _ in pool.map(part, starts):
                            pass
            if not starts and self.look(item.key) != item:
                raise changed(self._name(item.key))
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError) and not isinstance(error, StorageError):
                raise StorageError(f"{self._name(item.key)}: could not be fetched to {path.parent} ({error.strerror}); "
                                   "make room, then run the same command again") from error  # fmt: skip
            raise

    def read(self, key: str) -> tuple[Item, bytes, float] | None:
        """A small object, its content and its age by the server's clock, seconds; None if there is none."""
        try:
            return self._try(self._name(key), lambda: self._whole(key))
        except ChangedObjectError:
            return None

    def put(self, path: Path, key: str) -> Item:
        """Puts a file under a key: readers see what was there before, or all of it.

        Raises:
            InputError, StorageError: it could not be put.
        """
        size = path.stat().st_size
        etag = self._put(key, path.read_bytes()) if size <= PUT_PART_BYTES else self._put_parts(path, key, size)
        found = self.look(key)
        if found is None or found.size_bytes != size or found.etag != etag:
            raise StorageError(f"{self._name(key)}: is not what was put there ({size} bytes); does something else "
                               "write there? Run the same command again")  # fmt: skip
        return found

    def put_bytes(self, key: str, content: bytes, *, over: str | None = None, absent: bool = False) -> str | None:
        """Puts a small object; its ETag, or None where a condition does not hold.

        Args:
            key: under which.
            content: of it.
            over: put only where the object has this ETag.
            absent: put only where there is none.
        """
        condition = {"IfNoneMatch": "*"} if absent else {"IfMatch": over} if over is not None else {}
        try:
            return self._put(key, content, **condition)
        except ChangedObjectError:
            return None

    def remove(self, key: str) -> None:
        """Removes an object; nothing happens where there is none."""
        self._try(self._name(key), lambda: self._client.delete_object(Bucket=self._bucket, Key=key))

    def _name(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def _put(self, key: str, content: bytes, **condition: Any) -> str:
        request = {"Bucket": self._bucket, "Key": key, "Body": content, "ContentMD5": _md5_text(content), **condition}
        return str(self._try(self._name(key), lambda: self._client.put_object(**request))["ETag"])

    def _put_parts(self, path: Path, key: str, size: int) -> str:
        where = {"Bucket": self._bucket, "Key": key}
        begun = self._try(self._name(key), lambda: self._client.create_multipart_upload(**where))["UploadId"]
        where["UploadId"] = begun
        try:
            parts = []
            with path.open("rb") as file:
                for number in range(1, -(-size // PUT_PART_BYTES) + 1):
                    content = file.read(PUT_PART_BYTES)
                    request = {**where, "PartNumber": number, "Body": content, "ContentMD5": _md5_text(content)}
                    answer = self._try(self._name(key), partial(self._client.upload_part, **request))
                    parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            done = {**where, "MultipartUpload": {"Parts": parts}}
            return str(self._try(self._name(key), lambda: self._client.complete_multipart_upload(**done))["ETag"])
        except BaseException:
            # Parts that nobody completes are paid for until the bucket's rules remove them.
            self._forget(where)
            raise

    def _forget(self, where: dict[str, Any]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.abort_multipart_upload(**where)
        except (BotoCoreError, ClientError):
            return

    def _part(self, item: Item, start: int, length: int) -> bytes:
        ranged = f"bytes={start}-{start + length - 1}"
        answer = self._client.get_object(Bucket=self._bucket, Key=item.key, Range=ranged, IfMatch=item.etag)
        content = self._body(answer, length)
        told = str(answer.get("ContentRange", "")).removeprefix("bytes ")
        if answer["ETag"] != item.etag or told != f"{start}-{start + length - 1}/{item.size_bytes}":
            raise changed(self._name(item.key))
        return content

    def _whole(self, key: str) -> tuple[Item, bytes, float]:
        answer = self._client.get_object(Bucket=self._bucket, Key=key)
        size = int(answer["ContentLength"])
        item = Item(key, size, _moment(answer), answer["ETag"])
        return item, self._body(answer, size), _now_s(answer) - item.mtime_ns / 1e9

    def _body(self, answer: Any, length: int) -> bytes:
        """The body of an answer, which must be as long as was asked for, and come in time."""
        from urllib3.exceptions import HTTPError

        try:
            with answer["Body"] as body:
                content = body.read(length + 1)
        # botocore lets some of them through as they are.
        except HTTPError as error:
            raise _TornError(short(error)) from error
        if len(content) != length:
            raise _TornError(f"{len(content)} of {length} bytes came")
        return bytes(content)

    def _try(self, what: str, ask: Callable[[], Answer]) -> Answer:
        """Asks until an answer comes, `tries` times at most.

        Raises:
            ChangedObjectError: there is no such object, or a condition does not hold.
            InputError: no such bucket, no credentials, no right.
            StorageError: the server does not answer, or not as a whole.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        for number in range(self._patience.tries):
            if number:
                time.sleep(self._patience.pause_s * 2 ** (number - 1))
            try:
                return _within(self._patience.whole_s, ask)
            except ClientError as error:
                last = client_reason(error)
                if not worth_again(error):
                    raise refused(what, error) from error
            except BotoCoreError as error:
                last = short(error)
                if hopeless(error):
                    raise not_asked(what, error) from error
            except (_TornError, OSError) as error:
                last = str(error)
        raise StorageError(
            f"{what}: the server did not answer as a whole in {self._patience.tries} tries ({last}); check the network "
            "and AWS_ENDPOINT_URL, then run the same command again: finished frames are kept"
        )


class _TornError(Exception):
    """An answer that ended early or came too slowly."""


def _within(limit_s: float, ask: Callable[[], Answer]) -> Answer:
    """What `ask` returns, or raises, if it does so in time; else it is left to itself.

    Time limits of sockets are for the next byte, and looking up a name has none.
    """
    answers: SimpleQueue[tuple[Answer | None, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            answers.put((ask(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=work, name="request", daemon=True).start()
    try:
        answer, error = answers.get(timeout=limit_s)
    except Empty:
        raise _TornError(f"no whole answer in {limit_s:.0f} s") from None
    if error is not None:
        raise error
    return cast(Answer, answer)


def open_store(url: BucketUrl, *, patience: Patience | None = None) -> Store:
    """The bucket of a URL. Nothing is asked of the server yet.

    Credentials and server come from where AWS's own tools take them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    AWS_PROFILE, ~/.aws, the role of a machine; AWS_ENDPOINT_URL for other servers than AWS, AWS_REGION.

    Raises:
        InputError: the extra is not installed, or the settings of the environment are wrong.
    """
    chosen = patience or PATIENCE
    return Store(url.bucket, _client(os.getpid(), endpoint_url(), chosen), chosen)


@cache
def _client(_process: int, endpoint: str, patience: Patience) -> Any:
    """A client for this process: one that a fork inherits would share its connections."""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise InputError("s3://...: buckets need another package: pip install 'crackmap[s3]'") from error
    config = Config(
        connect_timeout=patience.connect_s, read_timeout=patience.read_s, max_pool_connections=MOST_CONNECTIONS,
        # Trying again is done here, for answers that end early as well.
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={"addressing_style": "path" if endpoint else "auto"},
        # Other servers than AWS know Content-MD5, and often no newer check sum.
        request_checksum_calculation="when_required", response_checksum_validation="when_required",
    )  # fmt: skip
    try:
        session = boto3.session.Session()
        region = session.region_name or "us-east-1"
        return session.client("s3", config=config, region_name=region, endpoint_url=endpoint or None)
    except (BotoCoreError, ValueError) as error:
        raise InputError(f"s3://...: the settings of AWS cannot be used ({short(error)}); check AWS_ENDPOINT_URL "
                         "(http://HOST:PORT), AWS_PROFILE, AWS_REGION and ~/.aws") from error  # fmt: skip


def etag_of(path: Path) -> str:
    """The ETag that a server gives a file which makes it of the MD5, as all do that do not encrypt."""
    digests = []
    with path.open("rb") as file:
        while content := file.read(PUT_PART_BYTES):
            digests.append(hashlib.md5(content, usedforsecurity=False))
    if len(digests) <= 1:
        return f'"{(digests or [hashlib.md5(usedforsecurity=False)])[0].hexdigest()}"'
    whole = hashlib.md5(b"".join(digest.digest() for digest in digests), usedforsecurity=False)
    return f'"{whole.hexdigest()}-{len(digests)}"'


def _md5_text(content: bytes) -> str:
    return b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode("ascii")


def _moment(answer: Any) -> int:
    """When an object was put there, nanoseconds; whole microseconds, which every file system keeps."""
    digest = hashlib.sha256(answer["ETag"].encode()).digest()
    return int(answer["LastModified"].timestamp()) * 10**9 + int.from_bytes(digest[:4], "big") % 10**6 * 1000


def _now_s(answer: Any) -> float:
    """The server's time: machines that share a bucket may not agree on theirs."""
    try:
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
    except (LookupError, TypeError, ValueError):
        return time.time()
