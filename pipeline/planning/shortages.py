"""What will be short, or is missing, and what helps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from crackmap.pipeline.planning.counting import Inventory
from crackmap.pipeline.planning.estimate import Estimate
from crackmap.pipeline.planning.measuring import Sample
from crackmap.pipeline.run import LEAST_UNREADABLE

SPARE = 1.2
"""Room beyond the upper end of the range that a disk should have: other programs write, too."""

DEVICE_SHARE = 0.9
"""Of a graphics card's memory: beyond it the nets fall back to single windows, or to the CPU."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """A warning.

    Attributes:
        what: "disk", "memory", "device", "unreadable", "sample", "position", "scale" or "network".
        text: what is short and what helps, in a sentence.
        certain: the run as it is planned cannot end well.
    """

    what: str
    text: str
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Room:
    """What there is.

    Attributes:
        disk_bytes: free where the output goes; None where no output folder was named.
        continued: the output folder holds a run already, which needs only what is left of it.
        memory_bytes: that a run may use; None if nothing tells.
        survey_on_network, out_on_network: whether the folders lie on other machines.
    """

    disk_bytes: int | None = None
    continued: bool = False
    memory_bytes: int | None = None
    survey_on_network: bool = False
    out_on_network: bool = False


def shortages(
    inventory: Inventory, sample: Sample | None, expected: Estimate | None, room: Room, *, most_unreadable: float
) -> tuple[Shortage, ...]:
    """All warnings, the certain ones first.

    Args:
        inventory: of the survey.
        sample: of its frames, if one was taken.
        expected: of a run, if the sample could tell.
        room: what there is.
        most_unreadable: share of images that cannot be read at which a run stops.
    """
    found = [*_of_survey(inventory, room, most_unreadable)]
    if sample is not None:
        found += _of_sample(sample)
    if expected is not None:
        found += [*_of_disk(expected, room), *_of_memory(expected, sample, room)]
    return tuple(sorted(found, key=lambda item: not item.certain))


def _of_survey(inventory: Inventory, room: Room, most_unreadable: float) -> Iterator[Shortage]:
    lost, found = inventory.unreadable, inventory.found
    if lost >= LEAST_UNREADABLE and lost > most_unreadable * found:
        yield Shortage("unreadable", f"{lost} of {found} images cannot be read, more than {most_unreadable:.0%}: a run "
                       "stops at once; is it the right folder, and is the card in order? `crackmap check` names each, "
                       "--max-unreadable lets more pass", certain=True)  # fmt: skip
    if inventory.unscaled:
        yield Shortage("scale", f"{inventory.unscaled} of {inventory.usable} images have no ground scale: their cracks "
                       "are measured in pixels; give --gsd MM_PER_PX, or [ground] in survey.toml")  # fmt: skip
    if inventory.unplaced > inventory.usable / 2:
        yield Shortage("position", f"{inventory.unplaced} of {inventory.usable} images have no position: "
                       "no kilometres, no sections by chainage, no strips; say in survey.toml where they "
                       "lie")  # fmt: skip
    if room.survey_on_network:
        yield Shortage("network", "the survey lies on a network file system, and several machines share its rate: give "
                       "it as --storage-mb-s, or copy the images to local disks")  # fmt: skip
    if room.out_on_network:
        yield Shortage("network", "the output folder lies on a network file system, where writing journal and masks "
                       "takes longer than measured here: choose a local -o, and copy it afterwards")  # fmt: skip


def _of_sample(sample: Sample) -> Iterator[Shortage]:
    lost = [frame for frame in sample.frames if frame.reason]
    if lost:
        remedy = "`crackmap check` names those that cannot be read"
        if not sample.usable:
            remedy += ", a greater --sample looks at others"
        yield Shortage("sample", f"{len(lost)} of {len(sample.frames)} sampled images cannot be used, the first "
                       f"{lost[0].key}: {lost[0].reason}; {remedy}")  # fmt: skip


def _of_disk(expected: Estimate, room: Room) -> Iterator[Shortage]:
    if room.disk_bytes is None:
        return
    need = expected.space.total
    least, most = need.value if need.low is None else need.low, need.value if need.high is None else need.high
    told = (f"the run needs about {gigabytes(need.value)} in the output folder ({gigabytes(least)} to "
            f"{gigabytes(most)}), and {gigabytes(room.disk_bytes)} are free")  # fmt: skip
    strips = expected.space.strips + expected.space.working
    remedy = "make room or choose another -o" + (
        f"; --no-strips needs {gigabytes(strips)} less" if strips > 0.2 * need.value else ""
    )
    if room.disk_bytes < least and not room.continued:
        yield Shortage("disk", f"{told}: it cannot end; {remedy}", certain=True)
    elif room.disk_bytes < SPARE * most:
        already = "; what the output folder holds already is not taken off" if room.continued else ""
        yield Shortage("disk", f"{told}: that may not be enough; {remedy}{already}")


def _of_memory(expected: Estimate, sample: Sample | None, room: Room) -> Iterator[Shortage]:
    need, limit = expected.memory, room.memory_bytes
    if limit is not None and need.frames is not None and need.frames > limit and need.each_worker:
        workers = sample.workers if sample is not None else 1
        fitting = max(1, workers - -(-(need.frames - limit) // max(need.each_worker, 1)))
        remedy = (
            f"--workers {fitting}" if fitting < workers else "run it on a machine with more, or recording by recording"
        )
        yield Shortage("memory", f"{workers} workers need about {gigabytes(need.frames)} of memory, and "
                       f"{gigabytes(limit)} may be used: the system ends such a run; {remedy}")  # fmt: skip
    elif limit is not None and need.assembly is not None and need.assembly > limit:
        yield Shortage("memory", f"putting together {expected.work.frames} frames and some {expected.cracks.value:.0f} "
                       f"cracks needs about {gigabytes(need.assembly)} of memory, and {gigabytes(limit)} may be used: "
                       "run the recordings one by one, or on a machine with more")  # fmt: skip
    held = sample.device if sample is not None else None
    if held is not None and held.peak_bytes > DEVICE_SHARE * min(held.free_bytes + held.peak_bytes, held.total_bytes):
        yield Shortage("device", f"the nets took {gigabytes(held.peak_bytes)} of the {gigabytes(held.total_bytes)} of "
                       f"{held.name}: frames that find no room go to the CPU; close what else uses it, or give fewer "
                       "--workers")  # fmt: skip


def gigabytes(size: float) -> str:
    """A size as a person reads it: «1.2 GB», «350 MB», in powers of ten."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}" if size < 1000 * unit else f"{size / unit:.0f} {name}"
    return f"{size / 1e3:.3g} kB"
