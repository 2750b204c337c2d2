"""Which frames stand for a survey: spread evenly over it, every recording and camera as far as their number allows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from crackmap.pipeline.records import Frame


@dataclass(frozen=True, slots=True)
class Chosen:
    """A frame of the sample.

    Attributes:
        frame: the frame.
        stands_for_px: pixels of the survey that it speaks for; those of all chosen ones add up to the survey's.
    """

    frame: Frame
    stands_for_px: float


def choose_sample(frames: Sequence[Frame], count: int) -> tuple[Chosen, ...]:
    """`count` frames, or all if there are fewer, in their order; the same ones every time.

    Each recording and camera gets its share of them, and at least one while there are enough; inside it they lie in
    the middle of equal stretches. Where there are more recordings and cameras than `count`, evenly chosen ones stand
    for the rest.
    """
    if count < 1 or not frames:
        return ()
    streams: dict[tuple[str, str], list[int]] = defaultdict(list)
    pixels: list[int] = []
    # Places instead of frames, of which a million would fill half a gigabyte.
    for place, frame in enumerate(frames):
        streams[frame.stream].append(place)
        pixels.append(frame.size_wh_px[0] * frame.size_wh_px[1])
    members = list(streams.values())
    if count < len(members):
        members = [members[place] for place in middles(len(members), count)]
    shares = _shares([len(group) for group in members], min(count, len(frames)))
    total_px, known_px = sum(pixels), sum(pixels[place] for group in members for place in group)
    found = []
    for group, share in zip(members, shares, strict=True):
        taken = [group[place] for place in middles(len(group), share)]
        group_px, taken_px = (sum(pixels[place] for place in some) for some in (group, taken))
        found += [Chosen(frames[place], pixels[place] / taken_px * group_px * total_px / known_px) for place in taken]
    return tuple(found)


def _shares(sizes: Sequence[int], count: int) -> list[int]:
    """`count` shared out in proportion to `sizes`: at least 1 each, and no more than there are."""
    whole = sum(sizes)
    quotas = [count * size / whole for size in sizes]
    shares = [min(max(1, int(quota)), size) for quota, size in zip(quotas, sizes, strict=True)]
    while sum(shares) < count:
        open_ones = [n for n in range(len(sizes)) if shares[n] < sizes[n]]
        shares[max(open_ones, key=lambda n: (quotas[n] - shares[n], -n))] += 1
    while sum(shares) > count:
        rich = [n for n in range(len(sizes)) if shares[n] > 1]
        shares[min(rich, key=lambda n: (quotas[n] - shares[n], -n))] -= 1
    return shares


def middles(length: int, count: int) -> list[int]:
    """The places in the middle of `count` equal stretches."""
    return [(2 * number + 1) * length // (2 * count) for number in range(count)]
