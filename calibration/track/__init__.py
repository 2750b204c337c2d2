"""Where the vehicle was: fixes from files, cleaned, projected, smoothed and read out by time or distance."""

from crackmap.calibration.track.clean import CleanSettings
from crackmap.calibration.track.delay import Delay, DelaySettings, estimate_delay
from crackmap.calibration.track.exif import Fix, exif_fix
from crackmap.calibration.track.files import read_track, read_track_csv
from crackmap.calibration.track.odometer import Odometer, read_odometer
from crackmap.calibration.track.overlap import require_overlap
from crackmap.calibration.track.project import ProjectedTrack, project_track
from crackmap.calibration.track.records import LeverArm, Poses, Track, TrackReport
from crackmap.calibration.track.runs import SmoothSettings
from crackmap.calibration.track.trajectory import Trajectory, smooth_track

__all__ = [
    "CleanSettings", "Delay", "DelaySettings", "Fix", "LeverArm", "Odometer", "Poses", "ProjectedTrack",
    "SmoothSettings", "Track", "TrackReport", "Trajectory", "estimate_delay", "exif_fix", "project_track",
    "read_odometer", "read_track", "read_track_csv", "require_overlap", "smooth_track",
]  # fmt: skip
