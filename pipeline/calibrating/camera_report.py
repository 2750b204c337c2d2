"""What `crackmap calibrate camera` says: a table of boards, the lens, and what the photos leave open."""

from __future__ import annotations

from typing import Any

from crackmap.calibration.camera import BoardResult
from crackmap.pipeline.calibrating.camera import CameraMade

Report = dict[str, Any]


def camera_report(made: CameraMade) -> Report:
    """The result as plain values."""
    fit, lens = made.fit, made.fit.lens
    return {
        "command": made.command,
        "boards": [_board(result) for result in made.boards],
        "size_wh_px": list(lens.size_wh_px),
        "model": lens.model,
        "focal_xy_px": list(lens.focal_xy_px),
        "u_focal_xy_px": list(fit.uncertainty.focal_xy_px),
        "centre_xy_px": list(lens.centre_xy_px),
        "u_centre_xy_px": list(fit.uncertainty.centre_xy_px),
        "distortion": list(lens.distortion),
        "u_distortion": list(fit.uncertainty.distortion),
        "mean_residual_px": fit.mean_residual_px,
        "rms_px": fit.rms_px,
        "clustering": fit.clustering,
        "reach": fit.reach,
        "u_seen_px": fit.seen_u_px,
        "u_image_corner_px": fit.image_corner_u_px,
        "board_relief_mm": fit.relief_mm,
        "warnings": list(fit.warnings),
        "pictures": [str(path) for path in made.pictures],
    }


def camera_lines(made: CameraMade) -> list[str]:
    """The result for people, line by line."""
    fit, lens, u = made.fit, made.fit.lens, made.fit.uncertainty
    wide = max(5, *(len(result.name) for result in made.boards))
    lines = [f"{'board':<{wide}}  mean px   max px  distance    tilt"]
    lines += [_row(result, wide) for result in made.boards]
    used = sum(result.used for result in made.boards)
    corner = "unknown" if fit.image_corner_u_px is None else f"{fit.image_corner_u_px:.2f} px"
    lines += [
        "",
        f"{used} of {len(made.boards)} boards used: mean residual {fit.mean_residual_px:.3f} px, rms {fit.rms_px:.3f}",
        f"lens: {lens.model}, {lens.size_wh_px[0]} x {lens.size_wh_px[1]} px",
        f"  focal length     {_pair(lens.focal_xy_px, u.focal_xy_px)} px",
        f"  principal point  {_pair(lens.centre_xy_px, u.centre_xy_px)} px from the top-left corner",
        "  distortion       "
        + ", ".join(f"{a:.4f} +- {b:.4f}" for a, b in zip(lens.distortion, u.distortion, strict=True)),
        f"  one standard deviation moves a straightened pixel by up to {fit.seen_u_px:.2f} px where boards were seen, "
        f"{corner} in the corners of the image",
        f"  boards reach {100 * fit.reach:.0f} % of the way from the middle of the image to its corners",
    ]
    if fit.relief_mm is not None:
        lines.append(f"  relief of the board {fit.relief_mm:.1f} mm")
    lines += [f"Warning: {warning}." for warning in fit.warnings]
    return lines


def _board(result: BoardResult) -> Report:
    return {
        "name": result.name,
        "used": result.used,
        "reason": result.reason,
        "notes": list(result.notes),
        "mean_px": result.mean_px,
        "max_px": result.max_px,
        "distance_mm": result.distance_mm,
        "tilt_deg": result.tilt_deg,
    }


def _row(result: BoardResult, wide: int) -> str:
    said = "; ".join(part for part in (*result.notes, result.reason and f"left out: {result.reason}") if part)
    if result.mean_px is None:
        return f"{result.name:<{wide}}  {'-':>7}  {'-':>7}  {'-':>8}  {'-':>6}  {said}".rstrip()
    return (
        f"{result.name:<{wide}}  {result.mean_px:7.2f}  {result.max_px:7.2f}  "
        f"{(result.distance_mm or 0.0) / 1e3:6.2f} m  {result.tilt_deg:2.0f} deg  {said}"
    ).rstrip()


def _pair(values: tuple[float, float], u: tuple[float, float]) -> str:
    return f"{values[0]:.1f} +- {u[0]:.1f}, {values[1]:.1f} +- {u[1]:.1f}"
