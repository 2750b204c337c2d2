"""What the answers of an S3 server mean for a run, in sentences that say what to do."""

from __future__ import annotations

import os
import re
from typing import Any

from crackmap.calibration.errors import CrackmapError, InputError, StorageError

AGAIN_STATUS = frozenset((408, 409, 425, 429, 500, 502, 503, 504))
AGAIN_CODES = frozenset(("SlowDown", "RequestTimeout", "Throttling", "InternalError"))
DENIED_CODES = frozenset((
    "AccessDenied", "403", "401", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
    "AllAccessDisabled",
))  # fmt: skip


class ChangedObjectError(InputError):
    """An object that is not any more what it was, or is gone."""


def endpoint_url() -> str:
    """The server, as the environment names it; empty for that of AWS."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _code(error: Any) -> tuple[str, int]:
    told = error.response.get("Error", {}).get("Code", "")
    return str(told), int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def client_reason(error: Any) -> str:
    """Status and code of an answer that is an error."""
    code, status = _code(error)
    return f"{status} {code}".strip()


def worth_again(error: Any) -> bool:
    """Whether the same request may get another answer."""
    code, status = _code(error)
    return status in AGAIN_STATUS or code in AGAIN_CODES


def changed(what: str) -> ChangedObjectError:
    """The error for an object that is not the one that was listed."""
    return ChangedObjectError(
        f"{what}: is another object now than when it was listed, or gone; run the same command again"
    )


def refused(what: str, error: Any) -> CrackmapError:
    """The error for an answer of the server that is one."""
    code, status = _code(error)
    if code == "NoSuchBucket":
        return InputError(f"{what}: there is no such bucket on {_plain(endpoint_url()) or 'AWS'}; check its name and "
                          "AWS_ENDPOINT_URL")  # fmt: skip
    if code in DENIED_CODES or status in (401, 403):
        return InputError(f"{what}: the server refuses it ({client_reason(error)}); check the credentials (variables "
                          "AWS_*, or ~/.aws) and their rights to list, read and write there")  # fmt: skip
    if status in (404, 412, 416):
        return changed(what)
    return StorageError(f"{what}: the server refuses it ({client_reason(error)}); check the bucket's settings, then "
                        "run the same command again")  # fmt: skip


def hopeless(error: Any) -> bool:
    """Whether a request never left this machine, and never will."""
    from botocore import exceptions

    return isinstance(error, (
        exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.CredentialRetrievalError,
        exceptions.ProfileNotFound, exceptions.ParamValidationError, exceptions.NoRegionError,
        exceptions.TokenRetrievalError, exceptions.SSOError,
    ))  # fmt: skip


def not_asked(what: str, error: Any) -> InputError:
    """The error for a request that never left this machine."""
    return InputError(f"{what}: cannot be asked for ({short(error)}); give credentials by AWS_ACCESS_KEY_ID and "
                      "AWS_SECRET_ACCESS_KEY, AWS_PROFILE or ~/.aws, and the server, if it is not AWS, by "
                      "AWS_ENDPOINT_URL")  # fmt: skip


def short(error: Any) -> str:
    """One line of what a library says, without a password."""
    return _plain(" ".join(str(error).split()))[:200] or type(error).__name__


def _plain(text: str) -> str:
    """A text without the user and password that a URL in it may have."""
    return re.sub(r"//[^/\s@]*@", "//", text)
