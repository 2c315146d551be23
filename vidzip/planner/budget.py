"""What a plan may spend, and how tokens are shared out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, get_args

from vidzip.errors import BadArgument, BudgetTooSmall
from vidzip.planner.choosing import Prefer
from vidzip.video.sampling import check_count


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a plan may spend, and on what rather.

    Attributes:
        total_tokens: visual tokens in all; never passed. The default is VisionZip's budget for Video-LLaVA,
            17 tokens for each of its 8 frames.
        num_frames: frames to look at; None lets the planner choose.
        max_latency_seconds: from the file, with the model loaded, to the answer's first token, as predicted.
        max_memory_bytes: what the device holds at its peak, weights included, as predicted.
        min_tokens_per_frame: that every frame gets.
        prefer: what the planner makes the most of where it chooses: ``"balanced"`` accuracy as it was measured,
            ``"coverage"`` frames, ``"detail"`` tokens a frame.

    Raises:
        BadArgument: a count below 1, a cap that is not a number above 0, or an unknown preference.
    """

    total_tokens: int = 136
    num_frames: int | None = None
    max_latency_seconds: float | None = None
    max_memory_bytes: float | None = None
    min_tokens_per_frame: int = 1
    prefer: Prefer = "balanced"

    def __post_init__(self) -> None:
        object.__setattr__(self, "total_tokens", check_count(self.total_tokens, "the token budget"))
        if self.num_frames is not None:
            object.__setattr__(self, "num_frames", check_count(self.num_frames, "the frame count"))
        for name, what in (("max_latency_seconds", "the latency cap"), ("max_memory_bytes", "the memory cap")):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _check_cap(getattr(self, name), what, name.rpartition("_")[2]))
        minimum = check_count(self.min_tokens_per_frame, "the least of tokens a frame")
        object.__setattr__(self, "min_tokens_per_frame", minimum)
        if self.prefer not in get_args(Prefer):
            raise BadArgument(f"unknown preference {self.prefer!r}", hint=f"use one of {', '.join(get_args(Prefer))}")


def _check_cap(value: Any, name: str, unit: str) -> float:
    """Read a cap, a number above 0.

    Raises:
        BadArgument: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise BadArgument(f"{name} is {value!r} {unit}", hint=f"give {unit} above 0, or leave it out")
    return float(value)


def split_budget(total_tokens: int, num_frames: int) -> tuple[int, ...]:
    """Share tokens among frames: frame i gets ``floor((i+1)B/F) - floor(iB/F)``, (F,); the shares sum to B.

    Raises:
        BudgetTooSmall: there are more frames than tokens.
        BadArgument: a count below 1.
    """
    total_tokens = check_count(total_tokens, "the token budget")
    num_frames = check_count(num_frames, "the frame count")
    check_fits(total_tokens, num_frames)
    return tuple(split_evenly(total_tokens, num_frames))


def split_evenly(total: int, num_parts: int) -> list[int]:
    """Share ``total`` among parts: part i gets ``floor((i+1)B/n) - floor(iB/n)``; some may get none."""
    return [(i + 1) * total // num_parts - i * total // num_parts for i in range(num_parts)]


def token_split(k: int) -> tuple[int, int]:
    """Split a frame's k tokens into dominant (CLS included) and contextual ones, as VisionZip's budgets do.

    Its published budgets give 10 of 64 and 20 of 128 tokens to contextual ones: ``contextual = (20 k + 64) // 128``.

    Raises:
        BadArgument: k is negative.
    """
    if k < 0:
        raise BadArgument(f"k is {k}", hint="give 0 tokens or more")
    contextual = (20 * k + 64) // 128
    return k - contextual, contextual


def check_fits(total_tokens: int, num_frames: int, min_tokens_per_frame: int = 1) -> None:
    """Make sure that every frame gets its least of tokens.

    Raises:
        BudgetTooSmall: there are too many frames for the tokens.
    """
    needed = num_frames * min_tokens_per_frame
    if needed <= total_tokens:
        return
    fewer = total_tokens // min_tokens_per_frame
    ways = [f"lower --frames to {fewer}"] if fewer and num_frames > 1 else []
    if min_tokens_per_frame > 1 and num_frames <= total_tokens:
        ways.append(f"lower --min-tokens to {total_tokens // num_frames}")
    ways.append(f"raise --budget to {needed}")
    raise BudgetTooSmall(
        f"{total_tokens} tokens cannot hold {num_frames} frames at {min_tokens_per_frame} each",
        hint=" or ".join(ways),
    )
