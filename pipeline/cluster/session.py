"""A connection to Ray: to a cluster that somebody started, or to processes of its own on this machine."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crackmap.calibration.errors import DeviceError

STORE_BYTES = 256 << 20
"""Of Ray's memory for what is sent around: frames and rows are small, pictures are not sent."""

KNOCK_S = 10.0

MISSING = (
    "--executor ray needs Ray, which is not installed: pip install 'crackmap[ray]', on every machine of the cluster"
)


@contextmanager
def ray_session(address: str | None) -> Iterator[Any]:
    """The module `ray`, connected; an own Ray ends with the block, one that was there before goes on.

    Args:
        address: of a running cluster («auto», «10.0.0.5:6379», «ray://10.0.0.5:10001»); None starts a Ray of its own,
            which other machines cannot reach.

    Raises:
        DeviceError: Ray is not installed, does not start, or no cluster answers.
    """
    # Ray reads these when it is imported; reporting to its maker is not for us to agree to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A cluster that is gone is asked once, not for a quarter of an hour.
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
    # What it has to say of a lost worker or machine it prints on standard output, with a page of its state, even where
    # it is told to send no logs (docs.ray.io, log deduplication): this fits every line of that. We say who was lost.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^")
    if address is None:
        _keep_to_this_machine()
    try:
        import ray
    except ModuleNotFoundError as error:
        raise DeviceError(MISSING) from error
    if ray.is_initialized():
        yield ray
        return
    try:
        _connect(ray, address)
        yield ray
    finally:
        ray.shutdown()


def _keep_to_this_machine() -> None:
    """Ray listens on all addresses unless it takes the system for one on which it makes no clusters."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Workers are all that this Ray is there for; by itself it lets everything else go before them.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    os.environ["RAY_AUTH_MODE"] = "token"
    # In no file: only this process and its children know it. Ray reads it once, so a second session has the same.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _knock(address: str) -> None:
    """Raises OSError where nobody listens; an address without a port is Ray's to find."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


def _connect(ray: Any, address: str | None) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address is not None:
            _knock(address)
            ray.init(address=address, **quiet)
            return
        before = os.umask(0o077)
        try:
            ray.init(address="local", include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)
        finally:
            os.umask(before)
    except (OSError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = "does not start on this machine" if address is None else f"no cluster answers at {address}"
        raise DeviceError(f"Ray: {where} ({said}); `ray start --head` starts one, docs/cluster.md says how") from error
    if address is None and not all(
        ipaddress.ip_address(node["NodeManagerAddress"]).is_loopback for node in ray.nodes()
    ):
        ray.shutdown()
        raise DeviceError("Ray listens on an address that other machines reach; start a cluster of your own with "
                          "`ray start`, protected as docs/cluster.md says, and give its --address")  # fmt: skip
