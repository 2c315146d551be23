"""From a video and a budget to a plan, and what it costs. Standard library only."""

from vidzip.planner.budget import Budget, evenly, split_budget, token_split
from vidzip.planner.planning import DEFAULT_NUM_FRAMES, WHOLE_FRAME_TOKENS, Plan, merge_repeats, plan, replan

__all__ = [
    "DEFAULT_NUM_FRAMES",
    "WHOLE_FRAME_TOKENS",
    "Budget",
    "Plan",
    "evenly",
    "merge_repeats",
    "plan",
    "replan",
    "split_budget",
    "token_split",
]
