"""Commands run on files of strangers, in this process and watched (`hostile.py`)."""

from __future__ import annotations

import re
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import harness
from faults.hostile import SECRET, Place, watched

from crackmap.cli.main import main
from crackmap.pipeline import nets

PATIENCE_S = 45.0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = Place(tmp_path, listener)
        monkeypatch.chdir(tmp_path / "cwd")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        monkeypatch.setattr(nets, "load_stages", lambda *_, **__: harness.stand_ins())
        yield found


@pytest.fixture
def crackmap(place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """The command line in this process, watched: exit code and all that it printed; it may not hang."""

    def hung(*_: object) -> None:
        raise AssertionError(f"hung for {PATIENCE_S:.0f} s")

    def run(*args: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["crackmap", *map(str, args)])
        alarm = threading.Timer(PATIENCE_S, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR1))
        before = signal.signal(signal.SIGUSR1, hung), signal.getsignal(signal.SIGTERM)
        capfd.readouterr()
        alarm.start()
        try:
            with watched(place), pytest.raises(SystemExit) as ended:
                main()
        finally:
            alarm.cancel()
            signal.signal(signal.SIGUSR1, before[0])
            signal.signal(signal.SIGTERM, before[1])
        printed = "".join(capfd.readouterr())
        assert SECRET not in printed and "Traceback" not in printed
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", printed)
        return int(ended.value.code or 0), printed

    return run
