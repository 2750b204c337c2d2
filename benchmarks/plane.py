"""Road planes on a real recording: lane lines against lane masks, and motion against the chainage step.

python -m benchmarks.plane --data ../shared/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from crackmap.calibration.fit import LaneView, crossing, fit_lane_view, lane_view, plane_from_lane
from crackmap.calibration.lane_lines import find_lane_lines
from crackmap.calibration.motion import consecutive_pairs, focal_from_motion, pair_motion
from crackmap.calibration.mount import Mount, mount_of_plane, plane_from_mount
from crackmap.calibration.plane import GroundLimits
from crackmap.pipeline.images import open_image

RECORDING, STEP_M, LANE_M, FOCAL_PX = "290RS294095", 5.0, 3.6, 1290.0


def described(name: str, view: LaneView) -> str:
    (x, y), (sx, sy) = view.vanishing_point_xy_px, view.spread_px[:2]
    plane = plane_from_lane(view, lane_width_m=LANE_M, focal_px=FOCAL_PX, size_wh_px=view.size_wh_px)
    mount = mount_of_plane(plane, focal_px=FOCAL_PX)
    return (
        f"{name:<12} {view.used:3d} of {view.seen:3d} frames, vanishing point ({x:.0f} +- {sx:.0f}, "
        f"{y:.0f} +- {sy:.0f}) px, height {mount.height_m:.3f} m, "
        f"pitch {mount.pitch_deg:.2f}, yaw {mount.yaw_deg:.2f} degrees"
    )


def drawn_errors(frames: int, draws: int = 60) -> tuple[float, float]:
    """Median and 95th percentile of the worst GSD error over the valid region, per cent, from lines through four points
    with 0.5 px of noise."""
    size, limits = (1024, 640), GroundLimits(36.0, (-2.2, 2.2), 10.5)
    truth = plane_from_mount(Mount(2.53, 18.0, 0.0, -4.0), size_wh_px=size, focal_px=FOCAL_PX, limits=limits)
    x, y = np.meshgrid(np.linspace(1, 1023, 31), np.linspace(1, 639, 41))
    pixels = np.column_stack([x.ravel(), y.ravel()])
    pixels = pixels[truth.trusted(pixels)]
    rng = np.random.default_rng(0)
    worst = []
    for _ in range(draws):
        found = []
        for _ in range(frames):
            lines = []
            for side in (-2.0, 1.6):
                points = truth.to_pixel_xy([(side, ahead) for ahead in (4.5, 6.0, 9.0, 18.0)])
                lines.append(np.polyfit(points[:, 1], points[:, 0] + rng.normal(0.0, 0.5, 4), 1))
            met = crossing(tuple(lines[0]), tuple(lines[1]), size[1])
            found += [met] if met is not None else []
        view = lane_view(found, size_wh_px=size, seen=frames)
        plane = plane_from_lane(view, lane_width_m=LANE_M, focal_px=FOCAL_PX, size_wh_px=size)
        worst.append(100 * float(np.abs(plane.gsd_mm(pixels) / truth.gsd_mm(pixels) - 1).max()))
    return float(np.median(worst)), float(np.percentile(worst, 95))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()

    for frames in (1, 2, 3, 5, 10, 20):
        median, most = drawn_errors(frames)
        print(
            f"drawn, {frames:2d} frames: worst GSD error {median:.2f} % in the median, {most:.2f} % in 95 of 100 draws"
        )

    paths = sorted((arguments.data / "dnit" / RECORDING).glob("*_RAW.jpg"))
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, 120).round().astype(int))]

    def pixels(path: Path) -> np.ndarray:
        with open_image(path) as source:
            return source.read_all()

    masks = (pixels(path.with_name(path.name.replace("_RAW.jpg", "_LANE.png")))[..., 0] > 127 for path in chosen)
    by_masks = fit_lane_view(masks)
    print(described("lane masks", by_masks))
    print(described("lane lines", find_lane_lines(pixels(path) for path in chosen)), flush=True)

    grey = [np.rint(pixels(path).mean(axis=2)).astype(np.uint8) for path in paths]
    pairs = consecutive_pairs([path.name for path in paths])
    fit = focal_from_motion(by_masks, pairs, grey.__getitem__, lane_width_m=LANE_M, step_m=STEP_M)
    print(f"focal length from one half: {fit.value:.0f} +- {fit.uncertainty:.0f} px ({fit.clear} of {fit.seen} clear)")
    print(f"motion over step in the other half: {fit.check:.3f} +- {fit.check_uncertainty:.3f} (median)")
    swapped = focal_from_motion(by_masks, [*pairs[1:], pairs[0]], grey.__getitem__, lane_width_m=LANE_M, step_m=STEP_M)
    print(f"halves swapped: {swapped.value:.0f} +- {swapped.uncertainty:.0f} px, then {swapped.check:.3f}")
    steps = [pair_motion(grey[i], grey[j], fit.plane, step_m=STEP_M) for i, j in pairs]
    metres = np.array([step.distance_m for step in steps if step.clear])
    counts, edges = np.histogram(metres, np.arange(3.0, 7.01, 0.5))
    print(
        f"steps: mean {metres.mean():.2f} m; "
        + ", ".join(f"{e:.1f} m: {c}" for e, c in zip(edges, counts, strict=False))
    )


if __name__ == "__main__":
    main()
