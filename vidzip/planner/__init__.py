"""From a video and a budget to a plan, its costs and its alternatives. Standard library only."""

from vidzip.planner.accuracy import Accuracy, measured
from vidzip.planner.assumed import NOT_CALIBRATED, default_costs, usual_dtype
from vidzip.planner.budget import Budget, split_budget, split_evenly, token_split
from vidzip.planner.costs import CostModel, Costs, ModelShape, StageCost
from vidzip.planner.planning import DEFAULT_NUM_FRAMES, Planner, check_request, plan, plan_with_report
from vidzip.planner.plans import Alternative, FrontierPoint, Plan, PlanReport
from vidzip.planner.replanning import drop_repeated_frames, replan_on_truncation
from vidzip.planner.shapes import VIDEO_LLAVA_7B, Architecture

__all__ = [
    "DEFAULT_NUM_FRAMES",
    "NOT_CALIBRATED",
    "VIDEO_LLAVA_7B",
    "Accuracy",
    "Alternative",
    "Architecture",
    "Budget",
    "CostModel",
    "Costs",
    "FrontierPoint",
    "ModelShape",
    "Plan",
    "PlanReport",
    "Planner",
    "StageCost",
    "check_request",
    "default_costs",
    "drop_repeated_frames",
    "measured",
    "plan",
    "plan_with_report",
    "replan_on_truncation",
    "split_budget",
    "split_evenly",
    "token_split",
    "usual_dtype",
]
