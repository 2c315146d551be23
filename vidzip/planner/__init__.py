"""From a video and a budget to a plan, its costs and its alternatives. Standard library only."""

from vidzip.planner.accuracy import AccuracyTable, measured_accuracy
from vidzip.planner.assumed_costs import NOT_CALIBRATED, default_costs, default_dtype
from vidzip.planner.budget import Budget, split_budget, split_evenly, token_split
from vidzip.planner.costs import CostModel, Costs
from vidzip.planner.model_shapes import VIDEO_LLAVA_7B, Architecture
from vidzip.planner.planning import DEFAULT_NUM_FRAMES, Planner, check_request, plan, plan_with_report
from vidzip.planner.plans import FrontierPoint, Plan, PlanReport
from vidzip.planner.replanning import drop_repeated_frames, replan_on_truncation

__all__ = [
    "DEFAULT_NUM_FRAMES",
    "NOT_CALIBRATED",
    "VIDEO_LLAVA_7B",
    "AccuracyTable",
    "Architecture",
    "Budget",
    "CostModel",
    "Costs",
    "FrontierPoint",
    "Plan",
    "PlanReport",
    "Planner",
    "check_request",
    "default_costs",
    "default_dtype",
    "drop_repeated_frames",
    "measured_accuracy",
    "plan",
    "plan_with_report",
    "replan_on_truncation",
    "split_budget",
    "split_evenly",
    "token_split",
]
