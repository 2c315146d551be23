"""A packed video: kept tokens as one sequence within a budget, each with its provenance; saved and loaded."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor

from vidzip.compress import ZippedFrames
from vidzip.errors import BadArgument, BadPack, DeviceUnavailable, PlanMismatch, VidzipError
from vidzip.packing.files import FORMAT, PACK_AGAIN, read_file, write_file
from vidzip.packing.rebuilding import rebuild
from vidzip.planner import Plan
from vidzip.version import __version__

_TOKEN_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_DTYPES = {
    "tokens": _TOKEN_DTYPES,
    "frame_of": (torch.int32,),
    "anchor_of": (torch.int32,),
    "source": (torch.int16, torch.int32),
    "grids": (torch.int32,),
    "timestamps_seconds": (torch.float64,),
}
"""The tensors of a file, named as in PackedVideo, and the dtypes that each may have."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a visual token comes from.

    Attributes:
        frame: index of the frame, in [0, F).
        timestamp_seconds: when that frame appears on screen.
        anchor: the source position of the token in its frame.
        row: the row of the anchor in the frame's grid of patches; None if the anchor is CLS.
        column: the column of the anchor; None if the anchor is CLS.
        patches: all source positions of the frame that ended in the token, the anchor among them, ascending.
        elsewhere: source tokens of other frames that ended in it, each as frame and position, ascending; only methods
            across frames merge such.
    """

    frame: int
    timestamp_seconds: float
    anchor: int
    row: int | None
    column: int | None
    patches: tuple[int, ...]
    elsewhere: tuple[tuple[int, int], ...] = ()

    @property
    def is_cls(self) -> bool:
        """Whether the anchor is CLS."""
        return self.row is None


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedVideo(ZippedFrames):
    """A video as T visual tokens before the projector, in order, with their provenance.

    Attributes:
        timestamps_seconds: when each frame appears on screen, (F,).
        plan: the plan of these frames; if frames repeated, without the repeats.
        method: the compression method's name, and those of its options that are not at their defaults.
        tower: the fingerprint of the vision tower that made the tokens.
        stage_seconds: time spent in each stage so far.
        warnings: how the result differs from what was requested.

    Raises:
        PlanMismatch: the numbers of tokens or frames are not the plan's.
    """

    timestamps_seconds: tuple[float, ...]
    plan: Plan
    method: str
    tower: str
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_token_count(self.num_tokens, self.plan)
        if not len(self.timestamps_seconds) == self.num_frames == self.plan.num_frames:
            raise PlanMismatch(
                f"{self.num_frames} frames and {len(self.timestamps_seconds)} timestamps for a plan of "
                f"{self.plan.num_frames} frames",
                hint="pack every frame of the plan",
            )

    @property
    def uncompressed_tokens(self) -> int:
        """Source tokens of all frames: what they would take uncompressed."""
        return self.frame_starts[-1]

    @property
    def tokens_per_frame(self) -> tuple[int, ...]:
        """Tokens of each frame, (F,): the plan's, unless a method across frames divided them otherwise."""
        return tuple(torch.bincount(self.frame_of, minlength=self.num_frames).tolist())

    def provenance(self, token: int) -> Provenance:
        """Describe where a token comes from.

        Raises:
            BadArgument: there is no token of that index.
        """
        if not 0 <= token < self.num_tokens:
            raise BadArgument(f"token {token} of {self.num_tokens}", hint=f"give 0 to {self.num_tokens - 1}")
        frame, anchor, starts = int(self.frame_of[token]), int(self.anchor_of[token]), self.frame_starts
        is_cls = self.has_cls and anchor == 0
        row, column = (None, None) if is_cls else divmod(anchor - self.has_cls, self.grids[frame][1])
        ended = [(bisect_right(starts, at) - 1, at) for (at,) in (self.source == token).nonzero().tolist()]
        return Provenance(
            frame=frame,
            timestamp_seconds=self.timestamps_seconds[frame],
            anchor=anchor,
            row=row,
            column=column,
            patches=tuple(at - starts[frame] for of_frame, at in ended if of_frame == frame),
            elsewhere=tuple((of_frame, at - starts[of_frame]) for of_frame, at in ended if of_frame != frame),
        )

    def save(self, path: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
        """Write the packed video to one file, which appears, or replaces an older pack, once it is complete.

        Args:
            path: the file; by convention its name ends in :data:`vidzip.packing.SUFFIX`.
            dtype: what the tokens are rounded to: float16, bfloat16 or float32. By default, half-precision tokens
                stay as they are and others become float16: 136 tokens of 1,024 numbers, with their provenance, take
                0.3 MB.

        Raises:
            BadArgument: an unknown dtype, one too narrow for the tokens, or content that could not be loaded again,
                such as NaN.
            WriteError: the file cannot be written, or a file that is not a packed video is there.
            DiskFull: there is not enough space.
        """
        if dtype is None:
            dtype = self.tokens.dtype if self.tokens.dtype in _TOKEN_DTYPES[:2] else torch.float16
        if dtype not in _TOKEN_DTYPES:
            raise BadArgument(f"unknown dtype {dtype}", hint=f"use one of {', '.join(map(str, _TOKEN_DTYPES))}")
        description = _Description(
            vidzip=__version__,
            method=self.method,
            tower=self.tower,
            has_cls=self.has_cls,
            plan=self.plan,
            warnings=self.warnings,
            stage_seconds=dict(self.stage_seconds),
        )
        try:
            _check(self)
            text = json.dumps(asdict(description), allow_nan=False, separators=(",", ":"))
            rebuild(_Description, json.loads(text), "description")  # writes nothing that could not be read
        except (TypeError, ValueError) as error:
            raise BadArgument(f"the packed video cannot be saved: {error}", hint=PACK_AGAIN) from error
        fits_int16 = self.num_tokens - 1 <= torch.iinfo(torch.int16).max
        tensors = {
            "tokens": self.tokens.to(dtype),
            "frame_of": self.frame_of.int(),
            "anchor_of": self.anchor_of.int(),
            "source": self.source.to(torch.int16 if fits_int16 else torch.int32),
            "grids": torch.tensor(self.grids, dtype=torch.int32),
            "timestamps_seconds": torch.tensor(self.timestamps_seconds, dtype=torch.float64),
        }
        if not tensors["tokens"].isfinite().all():
            raise BadArgument(
                f"the tokens reach {self.tokens.abs().max():g}, but {dtype} holds up to {torch.finfo(dtype).max:g}",
                hint="save them with dtype=torch.float32, or --pack-dtype float32",
            )
        write_file(os.fspath(path), tensors, text)

    @staticmethod
    def load(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> PackedVideo:
        """Read what :meth:`save` wrote; only the tokens may be rounded.

        Args:
            path: the file.
            device: where the tensors go; a model takes them from any.

        Raises:
            BadPack: there is no such file, it is not a packed video, is damaged, or has another format.
            DeviceUnavailable: the device does not exist here.
        """
        name = os.fspath(path)
        text, tensors = read_file(name)
        try:
            packed = _from_file(text, tensors)
        except (ValueError, RecursionError, PlanMismatch) as error:
            reason = error.message if isinstance(error, VidzipError) else error
            raise BadPack(f"{name!r} cannot be read as {FORMAT}: {reason}", hint=PACK_AGAIN) from error
        try:
            moved = {key: getattr(packed, key).to(device) for key in ("tokens", "frame_of", "anchor_of", "source")}
        except (RuntimeError, AssertionError) as error:  # torch asserts if it was built without CUDA
            reason = str(error).partition("\n")[0]
            raise DeviceUnavailable(f"a packed video cannot be put on {device}: {reason}", hint="use cpu") from error
        return replace(packed, **moved)


@dataclass(frozen=True, kw_only=True)
class _Description:
    """What a file holds beside tensors: the vidzip version that wrote it, and fields of PackedVideo."""

    vidzip: str
    method: str
    tower: str
    has_cls: bool
    plan: Plan
    warnings: tuple[str, ...]
    stage_seconds: dict[str, float]


def _from_file(text: str, tensors: Mapping[str, Tensor]) -> PackedVideo:
    """Build a packed video from a file's description and tensors.

    Raises:
        ValueError: they do not describe one.
        PlanMismatch: the numbers of tokens or frames are not the plan's.
    """
    dtypes = {key: tensor.dtype for key, tensor in sorted(tensors.items())}
    if dtypes.keys() != _DTYPES.keys() or any(dtype not in _DTYPES[key] for key, dtype in dtypes.items()):
        raise ValueError(f"its tensors are {', '.join(f'{key} ({dtype})' for key, dtype in dtypes.items())}")
    grids, timestamps = tensors["grids"], tensors["timestamps_seconds"]
    if grids.ndim != 2 or grids.shape[1] != 2 or timestamps.ndim != 1:
        raise ValueError(f"the shapes do not fit: grids {tuple(grids.shape)}, timestamps {tuple(timestamps.shape)}")
    described: _Description = rebuild(_Description, json.loads(text), "description")
    packed = PackedVideo(
        tokens=tensors["tokens"],
        frame_of=tensors["frame_of"].long(),
        anchor_of=tensors["anchor_of"].long(),
        source=tensors["source"].long(),
        grids=tuple((rows, columns) for rows, columns in grids.tolist()),
        has_cls=described.has_cls,
        timestamps_seconds=tuple(timestamps.tolist()),
        plan=described.plan,
        method=described.method,
        tower=described.tower,
        stage_seconds=described.stage_seconds,
        warnings=described.warnings,
    )
    _check(packed)
    return packed


def _check(packed: PackedVideo) -> None:
    """Check that the tensors fit each other, and that all positions exist.

    Raises:
        ValueError: they do not.
    """
    tokens, frame_of, anchor_of, source = packed.tokens, packed.frame_of, packed.anchor_of, packed.source
    num_source = packed.frame_starts[-1]
    if tokens.ndim != 2 or not frame_of.shape == anchor_of.shape == tokens.shape[:1] or source.shape != (num_source,):
        shapes = ", ".join(f"{key} {tuple(getattr(packed, key).shape)}" for key in ("tokens", "frame_of", "anchor_of"))
        raise ValueError(
            f"the shapes do not fit: {shapes}, source {tuple(source.shape)} for {num_source} source tokens"
        )
    if any(side < 1 for grid in packed.grids for side in grid):
        raise ValueError("a grid has no rows or no columns")
    sizes = torch.tensor(packed.frame_starts, device=tokens.device).diff()
    is_frame = (frame_of >= 0) & (frame_of < packed.num_frames)
    laws = {
        "tokens hold NaN or infinity": tokens.isfinite(),
        "tokens have frames that do not exist": is_frame,
        "tokens are not ordered by frame": frame_of.diff() >= 0,
        "tokens have anchors that do not exist": (anchor_of >= 0) & (anchor_of < sizes[frame_of.where(is_frame, 0)]),
        "source tokens ended in tokens that do not exist": (source >= -1) & (source < len(tokens)),
        "timestamps are not finite": torch.tensor(packed.timestamps_seconds, dtype=torch.float64).isfinite(),
    }
    broken = [message for message, holds in laws.items() if not holds.all()]
    if broken:
        raise ValueError("; ".join(broken))


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
        PlanMismatch: the numbers of tokens or frames are not the plan's.
    """
    return PackedVideo(
        **vars(zipped),
        timestamps_seconds=timestamps_seconds,
        plan=plan,
        method=method,
        tower=tower,
        stage_seconds=dict(stage_seconds or {}),
        warnings=plan.warnings,
    )


def check_token_count(num_tokens: int, plan: Plan) -> None:
    """Check the number of visual tokens against the plan.

    Raises:
        PlanMismatch: it is not the plan's, or exceeds the budget.
    """
    if num_tokens != plan.total_tokens or num_tokens > plan.budget.total_tokens:
        raise PlanMismatch(
            f"{num_tokens} visual tokens for a plan of {plan.total_tokens} in a budget of {plan.budget.total_tokens}",
            hint="pack the video again with this plan",
        )
