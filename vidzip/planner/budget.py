"""Budgets of plans, and how tokens are split among frames. Standard library only."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal, get_args

from vidzip.errors import BadArgument, BudgetTooSmall
from vidzip.video.sampling import check_count

Preference = Literal["balanced", "coverage", "detail"]

Limit = Literal["tokens", "latency", "memory", "video"]
"""A limit of a plan: the token budget, the latency limit, the memory limit, or the frames of the video."""

LIMITS: tuple[Limit, ...] = get_args(Limit)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of a plan, and what to prefer within them.

    Attributes:
        total_tokens: visual tokens in all, never exceeded. The default is VisionZip's budget for Video-LLaVA: 17 tokens
            for each of 8 frames.
        num_frames: frames to use; None lets the planner choose.
        max_latency_seconds: limit of the predicted time from the file, with the model loaded, to the answer's first
            token.
        max_memory_bytes: limit of the device's predicted peak memory, weights included.
        min_tokens_per_frame: tokens that every frame gets at least.
        prefer: what to maximize: ``"balanced"`` measured accuracy, ``"coverage"`` frames, ``"detail"`` tokens per frame.

    Raises:
        BadArgument: a count is below 1, a limit is not a number above 0, or the preference is unknown.
    """

    total_tokens: int = 136
    num_frames: int | None = None
    max_latency_seconds: float | None = None
    max_memory_bytes: float | None = None
    min_tokens_per_frame: int = 1
    prefer: Preference = "balanced"

    def __post_init__(self) -> None:
        object.__setattr__(self, "total_tokens", check_count(self.total_tokens, "the token budget"))
        if self.num_frames is not None:
            object.__setattr__(self, "num_frames", check_count(self.num_frames, "the frame count"))
        for name, label in (("max_latency_seconds", "the latency limit"), ("max_memory_bytes", "the memory limit")):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _check_limit(getattr(self, name), label, name.rpartition("_")[2]))
        minimum = check_count(self.min_tokens_per_frame, "the minimum of tokens per frame")
        object.__setattr__(self, "min_tokens_per_frame", minimum)
        if self.prefer not in get_args(Preference):
            raise BadArgument(
                f"unknown preference {self.prefer!r}", hint=f"use one of {', '.join(get_args(Preference))}"
            )


def _check_limit(value: Any, name: str, unit: str) -> float:
    """Check that a limit is a finite number above 0.

    Raises:
        BadArgument: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise BadArgument(f"{name} is {value!r} {unit}", hint=f"give {unit} above 0, or leave it out")
    return float(value)


def split_budget(total_tokens: int, num_frames: int) -> tuple[int, ...]:
    """Split tokens evenly among frames: frame i gets ``floor((i+1)T/F) - floor(iT/F)``, (F,).

    Raises:
        BudgetTooSmall: there are more frames than tokens.
        BadArgument: a count is below 1.
    """
    total_tokens = check_count(total_tokens, "the token budget")
    num_frames = check_count(num_frames, "the frame count")
    check_fits(total_tokens, num_frames)
    return tuple(split_evenly(total_tokens, num_frames))


def split_evenly(total: int, num_parts: int) -> list[int]:
    """Split a total among n parts: part i gets ``floor((i+1)T/n) - floor(iT/n)``, which may be 0."""
    return [(i + 1) * total // num_parts - i * total // num_parts for i in range(num_parts)]


def token_split(k: int) -> tuple[int, int]:
    """Split a frame's k tokens into dominant (CLS included) and contextual ones, as VisionZip does.

    Its published budgets have 10 of 64 and 20 of 128 contextual tokens: ``contextual = (20 k + 64) // 128``.

    Raises:
        BadArgument: k is negative.
    """
    if k < 0:
        raise BadArgument(f"k is {k}", hint="give 0 tokens or more")
    contextual = (20 * k + 64) // 128
    return k - contextual, contextual


def check_fits(total_tokens: int, num_frames: int, min_tokens_per_frame: int = 1) -> None:
    """Check that a token budget holds the minimum of every frame.

    Raises:
        BudgetTooSmall: it does not.
    """
    needed = num_frames * min_tokens_per_frame
    if needed <= total_tokens:
        return
    fewer = total_tokens // min_tokens_per_frame
    hints = [f"lower --frames to {fewer}"] if fewer and num_frames > 1 else []
    if min_tokens_per_frame > 1 and num_frames <= total_tokens:
        hints.append(f"lower --min-tokens to {total_tokens // num_frames}")
    hints.append(f"raise --budget to {needed}")
    raise BudgetTooSmall(
        f"{total_tokens} tokens cannot hold {num_frames} frames at {min_tokens_per_frame} each",
        hint=" or ".join(hints),
    )
