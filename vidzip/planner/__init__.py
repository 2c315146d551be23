"""From a video and a budget to a plan, and what it costs. Standard library only."""

from vidzip.planner.accuracy import Accuracy, measured
from vidzip.planner.assumed import NOT_CALIBRATED, default_costs, usual_dtype
from vidzip.planner.budget import Budget, evenly, split_budget, token_split
from vidzip.planner.costs import CostModel, Costs, ModelShape, StageCost
from vidzip.planner.deciding import Neighbour, Planner, Point
from vidzip.planner.planning import DEFAULT_NUM_FRAMES, WHOLE_FRAME_TOKENS, Plan, merge_repeats, plan, replan
from vidzip.planner.shapes import VIDEO_LLAVA_7B, Architecture

__all__ = [
    "DEFAULT_NUM_FRAMES",
    "NOT_CALIBRATED",
    "VIDEO_LLAVA_7B",
    "WHOLE_FRAME_TOKENS",
    "Accuracy",
    "Architecture",
    "Budget",
    "CostModel",
    "Costs",
    "ModelShape",
    "Neighbour",
    "Plan",
    "Planner",
    "Point",
    "StageCost",
    "default_costs",
    "evenly",
    "measured",
    "merge_repeats",
    "plan",
    "replan",
    "split_budget",
    "token_split",
    "usual_dtype",
]
