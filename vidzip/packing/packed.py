"""Kept tokens as one sequence within a budget, each knowing where it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vidzip.compress import ZippedFrames
from vidzip.errors import BadArgument, PlanMismatch
from vidzip.planner import Plan


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where one visual token came from.

    Attributes:
        frame: index of the frame, in [0, F).
        timestamp_seconds: when that frame appears on screen.
        anchor: the source position the token stands on; 0 is CLS where the tower has one.
        patches: every source position of that frame that ended in the token, the anchor among them, ascending.
        elsewhere: source tokens of other frames that ended in it, each as frame and position, ascending; methods that
            look at each frame alone leave none.
    """

    frame: int
    timestamp_seconds: float
    anchor: int
    patches: tuple[int, ...]
    elsewhere: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedVideo:
    """A video as T visual tokens before the projector, in order, with their provenance.

    Attributes:
        tokens: (T, D), frame by frame.
        frame_of: the frame of each token, (T,).
        anchor_of: the source position each token stands on, (T,).
        source: the index in ``tokens`` where each of a frame's S source tokens ended, -1 if dropped, (F, S).
        timestamps_seconds: when each frame appears on screen, (F,).
        plan: what was packed; where frames repeated, the plan re-made without the repeats.
        method: the compression method's name, and those of its options that are not at their defaults.
        tower: the fingerprint of the vision tower that made the tokens.
        stage_seconds: time spent in each stage so far.
        warnings: what differs from what was asked for, in words.

    Raises:
        PlanMismatch: there are not exactly the tokens that the plan gives.
    """

    tokens: Float[Tensor, "kept dim"]
    frame_of: Int[Tensor, " kept"]
    anchor_of: Int[Tensor, " kept"]
    source: Int[Tensor, "frames tokens"]
    timestamps_seconds: tuple[float, ...]
    plan: Plan
    method: str
    tower: str
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_token_count(self.num_tokens, self.plan)
        if not len(self.timestamps_seconds) == self.source.shape[0] == self.plan.num_frames:
            raise PlanMismatch(
                f"{self.source.shape[0]} frames and {len(self.timestamps_seconds)} timestamps for a plan of "
                f"{self.plan.num_frames} frames",
                hint="pack every frame of the plan",
            )

    @property
    def num_tokens(self) -> int:
        """T, the number of visual tokens."""
        return self.tokens.shape[0]

    @property
    def num_frames(self) -> int:
        """F, the number of frames."""
        return self.source.shape[0]

    @property
    def full_tokens(self) -> int:
        """Tokens the same frames would take uncompressed, F times S."""
        return self.source.numel()

    @property
    def tokens_per_frame(self) -> tuple[int, ...]:
        """Tokens of each frame, (F,): the plan's, unless a method across frames shared them out otherwise."""
        return tuple(torch.bincount(self.frame_of, minlength=self.num_frames).tolist())

    def provenance(self, token: int) -> Provenance:
        """Say where a token came from.

        Raises:
            BadArgument: there is no token of that index.
        """
        if not 0 <= token < self.num_tokens:
            raise BadArgument(f"token {token} of {self.num_tokens}", hint=f"give 0 to {self.num_tokens - 1}")
        frame = int(self.frame_of[token])
        ended_here = (self.source == token).nonzero().tolist()
        return Provenance(
            frame=frame,
            timestamp_seconds=self.timestamps_seconds[frame],
            anchor=int(self.anchor_of[token]),
            patches=tuple(place for at, place in ended_here if at == frame),
            elsewhere=tuple((at, place) for at, place in ended_here if at != frame),
        )

    def save(self, path: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
        """Write it all to one file, which appears, or takes an older pack's place, once it is whole.

        Args:
            path: the file; by custom its name ends in :data:`vidzip.packing.SUFFIX`.
            dtype: what the tokens are rounded to: float16, bfloat16 or float32. When left out, half-precision tokens
                stay as they are and others become float16: 136 tokens of 1,024 numbers, and where they come from,
                take 0.3 MB.

        Raises:
            BadArgument: an unknown dtype, one too narrow for the tokens, or tokens that no pack may hold, such as NaN.
            WriteError: the file cannot be written, or another file that is no packed video is there.
            DiskFull: there is no room for it.
        """
        from vidzip.packing.files import save

        save(self, path, dtype=dtype)

    @staticmethod
    def load(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> PackedVideo:
        """Read what :meth:`save` wrote: the same but for the tokens' rounding; no byte may have changed.

        Args:
            path: the file.
            device: where the tensors go; a model takes them from any.

        Raises:
            BadPack: there is no such file, it is no packed video, is damaged, or is of another format.
            DeviceUnavailable: the device is not there.
        """
        from vidzip.packing.files import load

        return load(path, device)


def pack_zipped(
    zipped: ZippedFrames,
    plan: Plan,
    *,
    timestamps_seconds: tuple[float, ...],
    method: str,
    tower: str,
    stage_seconds: Mapping[str, float] | None = None,
) -> PackedVideo:
    """Join compressed frames and the plan they were made by into one packed video.

    Raises:
        PlanMismatch: there are not exactly the tokens that the plan gives.
    """
    return PackedVideo(
        tokens=zipped.tokens,
        frame_of=zipped.frame_of,
        anchor_of=zipped.anchor_of,
        source=zipped.source,
        timestamps_seconds=timestamps_seconds,
        plan=plan,
        method=method,
        tower=tower,
        stage_seconds=dict(stage_seconds or {}),
        warnings=plan.warnings,
    )


def check_token_count(num_tokens: int, plan: Plan) -> None:
    """Hold the number of visual tokens against the plan.

    Raises:
        PlanMismatch: it is another number than the plan gives, or it passes the budget.
    """
    if num_tokens != plan.total_tokens or num_tokens > plan.budget.total_tokens:
        raise PlanMismatch(
            f"{num_tokens} visual tokens for a plan of {plan.total_tokens} in a budget of {plan.budget.total_tokens}",
            hint="pack the video again by this plan",
        )
