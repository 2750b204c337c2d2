"""What a run will take, before it is begun: how much there is, how long, what it costs, what will be short."""

from crackmap.pipeline.planning.plan import Expected, Plan, PlanOptions, make_plan
from crackmap.pipeline.planning.timing import Rates, Timing, Work, time_on

__all__ = ["Expected", "Plan", "PlanOptions", "Rates", "Timing", "Work", "make_plan", "time_on"]
