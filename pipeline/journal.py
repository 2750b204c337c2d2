"""The journal of a run: one SQLite row per finished frame, so that a run can stop and go on.

All products are made from the journal alone. A row is written in one transaction after the frame's mask file is in
place; a frame without a row is done again. What a person corrected lies in a table of its own over the rows of the
nets, which stay as they are.
"""

from __future__ import annotations

import fcntl
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from crackmap.calibration.errors import InputError, OutputLockedError, StorageError, require
from crackmap.pipeline.crack_text import cracks_of_text, cracks_text
from crackmap.stages.records import Crack

JOURNAL_NAME = "journal.sqlite"

LOCK_NAME = ".lock"
"""Held by the process that works on an output folder; it lets go by itself when the process ends, however it does."""

SYNCHRONOUS = "FULL"
"""A frame that is said to be done is on the disk (sqlite.org/pragma.html#pragma_synchronous)."""

FORMAT = 4
"""Version of the tables below; an older journal is not taken over."""

_OTHER_VERSION = "a journal of another version of crackmap; choose another -o, or remove the file"

# In one transaction, or a full disk would leave tables that belong to no version.
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS run (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS frames (
    key TEXT PRIMARY KEY, input_bytes INTEGER NOT NULL, input_mtime_ns INTEGER NOT NULL, input_sha256 TEXT NOT NULL,
    frame_hash TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, segmented_share REAL NOT NULL,
    mask_name TEXT NOT NULL, mask_bytes INTEGER NOT NULL, mask_sha256 TEXT NOT NULL,
    seconds TEXT NOT NULL, flags TEXT NOT NULL, crack_count INTEGER NOT NULL, crack_length_px REAL NOT NULL,
    cracks TEXT NOT NULL, looked TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS corrections (
    key TEXT PRIMARY KEY, input_sha256 TEXT NOT NULL, frame_hash TEXT NOT NULL, status TEXT NOT NULL,
    mask_name TEXT NOT NULL, mask_bytes INTEGER NOT NULL, mask_sha256 TEXT NOT NULL,
    crack_count INTEGER NOT NULL, crack_length_px REAL NOT NULL, cracks TEXT NOT NULL,
    areas TEXT NOT NULL, told TEXT NOT NULL);
PRAGMA user_version = {FORMAT};
COMMIT;
"""

NETS, CORRECTED = "nets", "corrected"
"""Who said what the cracks of a frame are: the nets alone, or a person after them."""

_REPLACED = ("status", "mask_name", "mask_bytes", "mask_sha256", "crack_count", "crack_length_px")
"""Of a frame's row, where it was corrected."""

# A correction holds for one picture and one geometry: where the nets' row has gone on to others, it rests.
_IN_FORCE = ("frames AS f LEFT JOIN corrections AS c ON c.key = f.key AND c.input_sha256 = f.input_sha256 "
             "AND c.frame_hash = f.frame_hash")  # fmt: skip

STATUSES = ("ok", "no_crack", "skipped", "failed")
"""What may become of a frame that was worked on."""

_KINDS: Mapping[str, type] = {
    "key": str, "input_bytes": int, "input_mtime_ns": int, "input_sha256": str, "frame_hash": str, "reason": str,
    "segmented_share": float, "mask_bytes": int, "mask_sha256": str, "crack_count": int, "crack_length_px": float,
}  # fmt: skip

_FACTS: Mapping[str, Mapping[str, Any]] = {
    "source": {"path": str, "survey": str | None, "gsd_mm": int | float | list | None, "follow_links": bool,
               "command": str},
    "settings": {"survey": dict | None},
    "plan": {"frames": int, "skipped": int, "command": str},
    "products": {"section_length_m": int | float, "strips": bool, "section_list": list | None, "profiles": list,
                 "lane_centre_m": int | float, "shapefile": bool, "strip_pixel_mm": int | float | None},
}  # fmt: skip

NETWORK_FILE_SYSTEMS = frozenset((
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "fuse.sshfs",
    "fuse.glusterfs",
))  # fmt: skip
"""Where the shared memory that SQLite's WAL needs does not work (sqlite.org/wal.html)."""


@dataclass(frozen=True, slots=True)
class JournalRow:
    """What is kept of one frame.

    Attributes:
        key: the frame.
        input_bytes, input_mtime_ns, input_sha256: identity of the image file when it was read; no hash if it could not
            be decoded.
        frame_hash: hash of everything that decided the row's numbers, the pixels excepted.
        status: "ok", "no_crack", "skipped" or "failed".
        reason: why it was skipped, or what failed.
        segmented_share: share of the image the segmenter looked at.
        mask_name, mask_bytes, mask_sha256: its file below masks/, empty if none, with size and hash.
        seconds: time per stage.
        flags: what was out of the ordinary («cpu»: the device had no room for it).
        cracks: as measured in this frame alone; empty in a row that comes from a journal, which `Journal.cracks` adds
            to: a survey may have more of them than memory holds.
        crack_count, crack_length_px: their number and total length.
        source: NETS or CORRECTED.
        looked: where the segmenter was sent (`crackmap.stages.regions.packed_cells`), empty for everywhere; empty in a
            row that comes from a journal, which `Journal.looked` adds to.
        packed: the cracks as the journal writes them, instead of `cracks`; empty in any other row.
    """

    key: str
    input_bytes: int
    input_mtime_ns: int
    input_sha256: str
    frame_hash: str
    status: str
    reason: str = ""
    segmented_share: float = 0.0
    mask_name: str = ""
    mask_bytes: int = 0
    mask_sha256: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    crack_count: int = 0
    crack_length_px: float = 0.0
    cracks: tuple[Crack, ...] = ()
    source: str = NETS
    looked: str = ""
    packed: str = ""

    def pack(self) -> JournalRow:
        """The same row with its cracks as text: ten times as quick to send and to write down."""
        return replace(self, cracks=(), packed=cracks_text(self.cracks))


class Finished(NamedTuple):
    """Of a `JournalRow`, what tells whether its frame needs not be done again."""

    key: str
    input_bytes: int
    input_mtime_ns: int
    input_sha256: str
    frame_hash: str
    status: str
    mask_name: str
    mask_bytes: int
    mask_sha256: str


_FINISHED_KINDS = (str, int, int, str, str, str, str, int, str)


@dataclass(frozen=True, slots=True)
class Told:
    """Where a correction comes from.

    Attributes:
        by: who made it; empty if nobody said.
        file, sha256: name and hash of the file it was read from.
        time: when it was made, ISO 8601, as the file says or else as its time of change does.
    """

    by: str
    file: str
    sha256: str
    time: str


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person said of one frame, and what was measured of it.

    Attributes:
        key: the frame.
        input_sha256, frame_hash: of the picture and of what decided the numbers; it is in force where the frame's row
            has the same.
        status: "ok" or "no_crack".
        mask_name, mask_bytes, mask_sha256, crack_count, crack_length_px, cracks: as of a `JournalRow`.
        areas: the corrected outlines as plain values: [meaning, ring, ring...] each, rings of [x, y] in pixels.
        told: where they come from.
    """

    key: str
    input_sha256: str
    frame_hash: str
    status: str
    mask_name: str
    mask_bytes: int
    mask_sha256: str
    crack_count: int
    crack_length_px: float
    areas: tuple[Any, ...]
    told: Told
    cracks: tuple[Crack, ...] = ()


class Journal:
    """An open journal; made by `open_journal`."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None) -> None:
        self._connection = connection
        self.path = path
        """Of the file, for `journal_to_read`; None where it is not to be opened once more."""

    def fact(self, name: str) -> Any:
        """A fact about the run by its name («settings», «source»), as plain JSON values; None if it was never set."""
        with _reading():
            row = self._connection.execute("SELECT value FROM run WHERE name = ?", (name,)).fetchone()
            value = json.loads(row[0]) if row else None
            _check_fact(name, value)
        return value

    def set_fact(self, name: str, value: Any) -> None:
        """Records a fact about the run."""
        self._insert("run", (name, json.dumps(value, sort_keys=True)))

    def _insert(self, table: str, *rows: tuple[Any, ...]) -> None:
        with _storing(), self._connection:
            marks = ",".join("?" * len(rows[0]))
            self._connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)

    def write(self, *rows: JournalRow) -> None:
        """Adds or replaces frames, durably: all of them or none."""
        values = [
            (row.key, row.input_bytes, row.input_mtime_ns, row.input_sha256, row.frame_hash, row.status,
             row.reason, row.segmented_share, row.mask_name, row.mask_bytes, row.mask_sha256,
             json.dumps(dict(row.seconds)), json.dumps(row.flags), row.crack_count, float(row.crack_length_px),
             row.packed or cracks_text(row.cracks), row.looked)
            for row in rows
        ]  # fmt: skip
        self._insert("frames", *values)

    def correct(self, corrections: Sequence[Correction]) -> None:
        """Puts corrections in the place of the nets' rows, durably: all of them or none."""
        values = [
            (one.key, one.input_sha256, one.frame_hash, one.status, one.mask_name, one.mask_bytes, one.mask_sha256,
             one.crack_count, float(one.crack_length_px),
             cracks_text(one.cracks),
             json.dumps(one.areas, allow_nan=False), json.dumps(asdict(one.told), sort_keys=True))
            for one in corrections
        ]  # fmt: skip
        marks = ",".join("?" * len(_CORRECTION_COLUMNS))
        with _storing(), self._connection:
            self._connection.executemany(f"INSERT OR REPLACE INTO corrections VALUES ({marks})", values)

    def withdraw(self, keys: Sequence[str]) -> None:
        """Takes corrections back, durably: all of them or none; the nets' rows are in force again."""
        with _storing(), self._connection:
            self._connection.executemany("DELETE FROM corrections WHERE key = ?", [(key,) for key in keys])

    def corrections(self, key: str | None = None) -> Iterator[Correction]:
        """All corrections in key order, or that of one frame; in force or not, without their cracks.

        Raises:
            InputError: as `rows`.
        """
        names = [name for name in _CORRECTION_COLUMNS if name != "cracks"]
        with _reading():
            chosen = f"SELECT {', '.join(names)} FROM corrections WHERE ?1 IS NULL OR key = ?1 ORDER BY key"
            for values in self._connection.execute(chosen, (key,)):
                row = dict(zip(names, values, strict=True))
                _check_values(row)
                row["areas"], told = tuple(json.loads(row["areas"])), json.loads(row["told"])
                require(all(isinstance(text, str) for text in told.values()), "told", "texts", told)
                yield Correction(**{**row, "told": Told(**told)})

    def rows(self) -> Iterator[JournalRow]:
        """All rows in key order, without their cracks; where a correction is in force, as it says.

        Raises:
            InputError: the journal is damaged, or was written by somebody else.
        """
        names = [
            field.name for field in fields(JournalRow) if field.name not in ("cracks", "source", "looked", "packed")
        ]
        columns = [f"coalesce(c.{name}, f.{name})" if name in _REPLACED else f"f.{name}" for name in names]
        told = f"CASE WHEN c.key IS NULL THEN '{NETS}' ELSE '{CORRECTED}' END"
        with _reading():
            for values in self._connection.execute(f"SELECT {', '.join(columns)}, {told} FROM {_IN_FORCE} ORDER BY 1"):
                row = dict(zip((*names, "source"), values, strict=True))
                row["seconds"], row["flags"] = json.loads(row["seconds"]), tuple(json.loads(row["flags"]))
                _check_row(row)
                yield JournalRow(**row)

    def finished(self) -> Iterator[Finished]:
        """Frames that were measured, in key order, with what tells whether that still holds.

        Raises:
            InputError: as `rows`.
        """
        names = [f"coalesce(c.{name}, f.{name})" if name in _REPLACED else f"f.{name}" for name in Finished._fields]
        with _reading():
            corrected = self._connection.execute("SELECT 1 FROM corrections LIMIT 1").fetchone() is not None
            # Without any, a row is read in half the time.
            columns, table = (names, _IN_FORCE) if corrected else (Finished._fields, "frames AS f")
            chosen = f"SELECT {', '.join(columns)} FROM {table} WHERE f.status IN ('ok', 'no_crack') ORDER BY 1"
            for values in self._connection.execute(chosen):
                if tuple(map(type, values)) != _FINISHED_KINDS or not _is_mask_name(values[6]):
                    raise ValueError(f"frame {values[0]!r} holds {values[1:]!r}")
                yield Finished._make(values)

    def looked(self, key: str) -> str:
        """Where the segmenter was sent in a frame.

        Raises:
            InputError: as `rows`.
        """
        with _reading():
            row = self._connection.execute("SELECT looked FROM frames WHERE key = ?", (key,)).fetchone()
            require(row is None or isinstance(row[0], str), "looked", "text", row)
            return str(row[0]) if row else ""

    def cracks(self, key: str) -> tuple[Crack, ...]:
        """The cracks of a frame, as measured in it alone.

        Raises:
            InputError: as `rows`.
        """
        with _reading():
            chosen = f"SELECT coalesce(c.cracks, f.cracks) FROM {_IN_FORCE} WHERE f.key = ?"
            row = self._connection.execute(chosen, (key,)).fetchone()
            return cracks_of_text(row[0]) if row else ()


_CORRECTION_COLUMNS = ("key", "input_sha256", "frame_hash", "status", "mask_name", "mask_bytes", "mask_sha256",
                       "crack_count", "crack_length_px", "cracks", "areas", "told")  # fmt: skip
"""In the order of the table."""


def check_tables(connection: sqlite3.Connection) -> None:
    """Refuses a file that holds anything but the tables above: a view or a trigger runs with what is read or written.

    Raises:
        InputError: it does, or is of another version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != FORMAT:
        raise InputError(f"{JOURNAL_NAME}: {_OTHER_VERSION}")
    found = _tables_of(connection)
    if found != _own_tables():
        strange = sorted(name for _, name, _ in found ^ _own_tables())
        raise InputError(f"{JOURNAL_NAME}: not a crackmap journal ({', '.join(strange[:3])}); choose another -o or "
                         "remove the file")  # fmt: skip


@cache
def _own_tables() -> frozenset[tuple[str, str, str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMA)
        return _tables_of(connection)


def _tables_of(connection: sqlite3.Connection) -> frozenset[tuple[str, str, str]]:
    """Kind, name and definition of all that a file holds."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    return frozenset((str(kind), str(name), " ".join(str(sql).split())) for kind, name, sql in rows)


def _check_row(row: Mapping[str, Any]) -> None:
    """Refuses values that no run writes: SQLite keeps any text in a column of numbers."""
    _check_values(row)
    seconds = row["seconds"].values()
    require(all(isinstance(value, int | float) for value in seconds), "seconds", "numbers", row["seconds"])


def _check_values(row: Mapping[str, Any]) -> None:
    wrong = [name for name, kind in _KINDS.items() if name in row and type(row[name]) is not kind]
    if wrong:
        require(False, wrong[0], "text" if _KINDS[wrong[0]] is str else "a number", row[wrong[0]])
    require(row["status"] in STATUSES, "status", f"one of {', '.join(STATUSES)}", row["status"])
    mask = row["mask_name"]
    require(not mask or _is_mask_name(mask), "mask_name", "a name below masks/", mask)


_MASK_NAME = re.compile(r"[\w-]+\.tif")


def _is_mask_name(text: str) -> bool:
    return _MASK_NAME.fullmatch(text) is not None


def _check_fact(name: str, value: Any) -> None:
    if value is None:
        return
    require(isinstance(value, dict), name, "a table", value)
    for key, kinds in _FACTS.get(name, {}).items():
        require(key in value and isinstance(value[key], kinds), f"{name} {key}", "what a run writes", value.get(key))


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{JOURNAL_NAME}: damaged, or not written by crackmap ({error}); restore it, or choose "
                         "another -o and run again") from error  # fmt: skip


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageError(f"{JOURNAL_NAME}: cannot be written ({error}); check free space and permissions, then run "
                           "the same command again: finished frames are kept") from error  # fmt: skip


@contextmanager
def open_journal(out: Path) -> Iterator[Journal]:
    """Opens (or makes) the journal in `out` and holds the folder's lock until the block ends.

    Raises:
        OutputLockedError: another process works on `out`.
        StorageError: the folder or the file cannot be written.
        InputError: the file there is not a journal.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK_NAME).open("w")
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror}); choose another output folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputLockedError(f"{out}: another crackmap run is writing there; wait for it or choose another -o") \
                from error  # fmt: skip
        with closing(_connect(out / JOURNAL_NAME)) as connection:
            yield Journal(connection, out / JOURNAL_NAME)


@contextmanager
def journal_to_read(path: Path) -> Iterator[Journal]:
    """A journal that another process, which holds the folder's lock, has open.

    Raises:
        InputError: it cannot be read.
    """
    with _reading():
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    with closing(connection):
        yield Journal(connection)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        empty = connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None
        if version != FORMAT and not (version == 0 and empty):
            raise InputError(f"{path}: {_OTHER_VERSION}")
        if not empty:
            check_tables(connection)
        connection.execute(f"PRAGMA journal_mode={'TRUNCATE' if on_network(path.parent) else 'WAL'}")
        connection.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
        connection.executescript(_SCHEMA)
    except sqlite3.OperationalError as error:
        connection.close()
        raise StorageError(f"{path}: cannot be written ({error}); check free space and permissions") from error
    except sqlite3.DatabaseError as error:
        connection.close()
        raise InputError(f"{path}: not a crackmap journal ({error}); choose another -o or remove the file") from error
    except InputError:
        connection.close()
        raise
    return connection


def on_network(folder: Path) -> bool:
    """Whether a folder lies on a file system that other machines share; where nothing tells, it does not."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    kinds = {}
    for line in lines:
        before, _, after = line.partition(" - ")
        # Spaces in a mount point are written as octal numbers.
        kinds[before.split()[4].replace("\\040", " ")] = after.split()[0]
    for parent in (folder.resolve(), *folder.resolve().parents):
        if str(parent) in kinds:
            return kinds[str(parent)] in NETWORK_FILE_SYSTEMS
    return False
