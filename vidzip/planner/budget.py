"""What a plan may spend, and how tokens are shared out."""

from __future__ import annotations

from dataclasses import dataclass

from vidzip.errors import BadArgument, BudgetTooSmall
from vidzip.video.sampling import check_count


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a plan may spend.

    Attributes:
        total_tokens: visual tokens in all; never passed. The default is VisionZip's budget for Video-LLaVA,
            17 tokens for each of its 8 frames.
        num_frames: frames to look at; None lets the planner choose.

    Raises:
        BadArgument: a count below 1.
    """

    total_tokens: int = 136
    num_frames: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "total_tokens", check_count(self.total_tokens, "the token budget"))
        if self.num_frames is not None:
            object.__setattr__(self, "num_frames", check_count(self.num_frames, "the frame count"))


def split_budget(total_tokens: int, num_frames: int) -> tuple[int, ...]:
    """Share tokens among frames: frame i gets ``floor((i+1)B/F) - floor(iB/F)``, (F,); the shares sum to B.

    Raises:
        BudgetTooSmall: there are more frames than tokens.
        BadArgument: a count below 1.
    """
    total_tokens = check_count(total_tokens, "the token budget")
    num_frames = check_count(num_frames, "the frame count")
    check_fits(total_tokens, num_frames)
    return tuple(evenly(total_tokens, num_frames))


def evenly(total: int, num_parts: int) -> list[int]:
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


def check_fits(total_tokens: int, num_frames: int) -> None:
    """Make sure that every frame gets a token.

    Raises:
        BudgetTooSmall: there are more frames than tokens.
    """
    if num_frames > total_tokens:
        raise BudgetTooSmall(
            f"{total_tokens} tokens cannot hold {num_frames} frames at 1 each",
            hint=f"lower --frames to {total_tokens} or raise --budget to {num_frames}",
        )
