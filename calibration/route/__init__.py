"""The route of a survey: a line with chainage, its file, its calibration points, and drives along it."""

from crackmap.calibration.route.drive import Leave, Travel, lane_at, leaves, travel_direction
from crackmap.calibration.route.follow import Located
from crackmap.calibration.route.line import Route, make_route
from crackmap.calibration.route.posts import CalibrationPoint, calibrated, read_calibration_points
from crackmap.calibration.route.read import read_route

__all__ = [
    "CalibrationPoint",
    "Leave",
    "Located",
    "Route",
    "Travel",
    "calibrated",
    "lane_at",
    "leaves",
    "make_route",
    "read_calibration_points",
    "read_route",
    "travel_direction",
]
