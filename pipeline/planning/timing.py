"""How long a run takes on some machines: a model of few terms, and what it takes for given."""

from __future__ import annotations

from dataclasses import dataclass

from crackmap.calibration.errors import require


@dataclass(frozen=True, slots=True)
class Rates:
    """What no sample of a few frames can show. The command that measured each is in docs/plan.md.

    Attributes:
        journal_rows_per_s: finished frames that the one process which keeps the journal writes down, at most.
        journal_s_per_crack: that each of their cracks takes there besides.
        assembly_s_per_crack: cracks of a finished run joined, made into patterns and sections, and written to all
            tables and layers; 993,000 drawn ones took 494 s of processors, 44 s of them for their frames.
        assembly_s_per_frame: listed again, its row read again, outlined, written as a layer.
        frame_bytes: memory of a frame in the process that lists and assembles; a million without a crack took 715 MB.
        crack_bytes: memory of a crack while its recording is put together, which is done as a whole; of many recordings
            two are in memory at a time, and 993,000 cracks of a hundred took 1.2 GB with their frames.
        journal_row_bytes: a row of the journal without cracks.
        tables_fixed_bytes: layers and tables of a survey without a crack.
        clock_spread: share by which the same work takes longer or shorter at another time, on a machine that others
            use as well (docs/performance.md: rounds differ by a quarter, from end to end).
    """

    journal_rows_per_s: float = 300.0
    journal_s_per_crack: float = 2.0e-4
    assembly_s_per_crack: float = 4.5e-4
    assembly_s_per_frame: float = 5.5e-4
    frame_bytes: int = 750
    crack_bytes: int = 5_000
    journal_row_bytes: int = 700
    tables_fixed_bytes: int = 200_000
    clock_spread: float = 0.125


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done, in seconds of one machine as this one.

    Attributes:
        start_s: until the first frame is done at full speed: program loaded, survey listed, nets made ready.
        compute_s: all frames from the file to the mask and the row of the journal.
        assembly_s: results put together and written, which one machine does.
        frames: to do.
        input_bytes: to read.
        cracks: in the frames, to write down.
    """

    start_s: float
    compute_s: float
    assembly_s: float
    frames: int
    input_bytes: int
    cracks: float = 0.0


@dataclass(frozen=True, slots=True)
class Timing:
    """A run on some machines.

    Attributes:
        machines: each as this one.
        start_s, assembly_s: as of `Work`.
        compute_s, storage_s, journal_s: each alone would take so long; the longest of them counts.
        bound: which that is: "compute", "storage" or "journal".
        total_s: start, the longest of the three, assembly.
    """

    machines: int
    start_s: float
    compute_s: float
    storage_s: float
    journal_s: float
    assembly_s: float
    bound: str
    total_s: float

    @property
    def machine_hours(self) -> float:
        """Hours of all machines, none given back before the end."""
        return self.machines * self.total_s / 3600


def time_on(machines: int, work: Work, rates: Rates, *, storage_bytes_per_s: float | None = None) -> Timing:
    """The time of `work` on some machines: start + max(compute / N, bytes / storage, journal) + assembly.

    A frame is never shared, so no more machines count than there are frames.

    Args:
        machines: N, each as the one that `work` was measured on.
        work: what is to be done.
        rates: what is taken for given.
        storage_bytes_per_s: that the storage of the images gives to all machines together; None: it is no limit.

    Raises:
        InputError: no machine, or a rate that is not above 0.
    """
    require(machines >= 1, "machines", "1 or more", machines)
    require(storage_bytes_per_s is None or storage_bytes_per_s > 0, "storage", "above 0", storage_bytes_per_s)
    terms = {
        "compute": work.compute_s / max(min(machines, work.frames), 1),
        "storage": work.input_bytes / storage_bytes_per_s if storage_bytes_per_s else 0.0,
        "journal": work.frames / rates.journal_rows_per_s + work.cracks * rates.journal_s_per_crack,
    }
    bound = max(terms, key=lambda name: terms[name])
    total_s = work.start_s + terms[bound] + work.assembly_s
    return Timing(
        machines, work.start_s, terms["compute"], terms["storage"], terms["journal"], work.assembly_s, bound, total_s
    )
