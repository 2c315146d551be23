"""A video or a packed one, and the model that looks at it: from what a person named to what can be asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import vidzip
from pipelines.settings import BASELINE_FRAMES, ModelSettings
from pipelines.terminal import Progress
from vidzip import DecodeOptions
from vidzip.errors import BadArgument, DecodeError, TowerMismatch
from vidzip.planner import check_request, plan_with_report

if TYPE_CHECKING:
    from vidzip import Budget, PackedVideo, VideoModel

MOST_LISTED = 8
"""Frames without tokens that a table lists; JSON holds the tokens of all."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is to be looked at, and who looks.

    Attributes:
        path: a video file, or a packed video's.
        budget: what may be spent on a video.
        start: seconds; the video's start when None.
        end: seconds; the video's end when None.
        snap: whether frames move to nearby keyframes.
        method: how frames are compressed: a name in :data:`vidzip.compress.METHODS`.
        method_options: the method's own, as a command line has them.
        decoding: how a video is decoded.
        video_options: those of the above that were named, as they are written; a packed video takes none.
        model: which model looks, and how it is loaded.
    """

    path: str
    budget: Budget
    start: float | None = None
    end: float | None = None
    snap: bool = False
    method: str = "visionzip"
    method_options: Mapping[str, str] = field(default_factory=dict)
    decoding: DecodeOptions = field(default_factory=DecodeOptions)
    video_options: tuple[str, ...] = ()
    model: ModelSettings = field(default_factory=ModelSettings)

    @cached_property
    def is_pack(self) -> bool:
        """Whether it is a packed video."""
        if not os.path.lexists(self.path):
            return False
        from vidzip.packing import is_pack

        return is_pack(self.path)


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A source, its model, and the packed video, which was read or made.

    ``notes`` say how a video was planned; a packed video has none.
    """

    source: Source
    model: VideoModel
    packed: PackedVideo
    notes: tuple[str, ...] = ()

    @property
    def baseline_tokens(self) -> int:
        """Tokens of the uncompressed frames that Video-LLaVA takes."""
        return BASELINE_FRAMES * self.model.tokens_per_frame


def open_source(source: Source, progress: Progress, check: Callable[[VideoModel, int], None] | None = None) -> Opened:
    """Read a packed video, or decode and pack a video.

    Args:
        source: what, and who looks.
        progress: called as stages go on.
        check: called with the model and the number of visual tokens before a frame is decoded; what it raises, ends it.

    Raises:
        VidzipError: whatever is wrong with the source; before a model is loaded, where that can be known.
    """
    progress("open", 0, 1)
    return _read(source, progress, check) if source.is_pack else _pack(source, progress, check)


def _read(source: Source, progress: Progress, check: Callable[[VideoModel, int], None] | None) -> Opened:
    if source.video_options:
        raise BadArgument(
            f"{source.path!r} is packed already, and takes no {', no '.join(source.video_options)}",
            hint="leave out what chooses and decodes frames, or name the video",
        )
    packed = vidzip.PackedVideo.load(source.path)
    model = source.model.load(progress)
    if packed.tower != model.tower_fingerprint:
        who = f"{model.name}, which was taken as no --model was named," if source.model.name is None else model.name
        raise TowerMismatch(
            f"{source.path!r} was packed by the vision tower {packed.tower}, but {who} has {model.tower_fingerprint}",
            hint="name the --model that packed it, or pack the video again with this one",
        )
    if check:
        check(model, packed.num_tokens)
    return Opened(source=source, model=model, packed=packed)


def _pack(source: Source, progress: Progress, check: Callable[[VideoModel, int], None] | None) -> Opened:
    info = vidzip.probe(source.path)
    if source.decoding.strict and info.warnings:
        raise DecodeError(f"{source.path!r}: {info.warnings[0]}", hint="fetch it again, or go without --strict")
    # A wrong budget, time range or method is reported before a model is loaded.
    check_request(info, source.budget, source.start, source.end)
    from vidzip.compress import describe, read_method

    method = read_method(source.method, source.method_options)
    model = source.model.load(progress)
    report = plan_with_report(
        info,
        source.budget,
        model.tokens_per_frame,
        start=source.start,
        end=source.end,
        snap=source.snap,
        frames_per_clip=model.frames_per_clip,
        method=describe(method),
    )
    if check:
        check(model, report.plan.total_tokens)
    progress("encode", 0, report.plan.num_frames)
    packed = model.pack(info, report.plan, method, decoding=source.decoding, on_progress=progress)
    return Opened(source=source, model=model, packed=packed, notes=(*packed.plan.notes, *report.notes))


def record(opened: Opened) -> dict[str, Any]:
    """Report as JSON takes it what was looked at, and how."""
    packed = opened.packed
    return {
        "frames_requested": packed.plan.budget.num_frames,
        "frames": packed.num_frames,
        "visual_tokens": packed.num_tokens,
        "full_tokens": packed.full_tokens,
        "baseline_tokens": opened.baseline_tokens,
        "tokens_per_frame": list(packed.tokens_per_frame),
        "timestamps_seconds": [round(moment, 6) for moment in packed.timestamps_seconds],
    }


def summary(opened: Opened, seconds: dict[str, float]) -> list[tuple[str, str]]:
    """Report in a short table: frames, tokens before and after, and seconds a stage."""
    packed = opened.packed
    baseline = f"{BASELINE_FRAMES} full frames take {opened.baseline_tokens:,}"
    return [
        ("frames", _frames_shown(packed)),
        ("tokens", f"{packed.full_tokens:,} → {packed.num_tokens:,}   ({baseline})"),
        *((f"{stage} s", f"{spent:.3f}") for stage, spent in seconds.items()),
    ]


def _frames_shown(packed: PackedVideo) -> str:
    counts = zip(packed.timestamps_seconds, packed.tokens_per_frame, strict=True)
    empty = [f"{moment:.2f}" for moment, tokens in counts if not tokens]
    if not empty:
        return f"{packed.num_frames}"
    listed = " ".join([*empty[:MOST_LISTED], *(["…"] if len(empty) > MOST_LISTED else [])])
    return f"{packed.num_frames}, {len(empty)} of them without tokens, at seconds {listed}"
