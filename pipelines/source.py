"""A video, or a packed one, and the model that answers questions about it: from settings to a packed video."""

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
    from vidzip import Budget, PackedVideo, Plan, VideoModel

    Check = Callable[[VideoModel, Plan | PackedVideo], None]

MAX_LISTED_FRAMES = 8
"""Limit on the frames without tokens that a table lists; JSON lists the tokens of all frames."""


@dataclass(frozen=True, kw_only=True)
class VideoSource:
    """A video file with the settings to pack it, or a packed video's file; and the model to load.

    Attributes:
        path: a video file, or a packed video's.
        budget: limits on frames and tokens.
        start: seconds; the video's start if None.
        end: seconds; the video's end if None.
        snap: whether frames move to nearby keyframes.
        method: a name in :data:`vidzip.compress.METHODS`.
        method_options: the method's options, as text.
        decoding: how the video is decoded.
        video_options: flags among the above that were given; a packed video accepts none.
        model: which model is loaded, and how.
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
        """Whether the file is a packed video."""
        if not os.path.lexists(self.path):
            return False
        from vidzip.packing import is_pack

        return is_pack(self.path)


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedSource:
    """A source, its loaded model, and its packed video.

    ``notes`` explain how a video was planned; a packed video has none.
    """

    source: VideoSource
    model: VideoModel
    packed: PackedVideo
    notes: tuple[str, ...] = ()

    @property
    def baseline_tokens(self) -> int:
        """Visual tokens of the baseline: :data:`~pipelines.settings.BASELINE_FRAMES` uncompressed frames."""
        return BASELINE_FRAMES * self.model.tokens_per_frame


def open_source(source: VideoSource, progress: Progress, check: Check | None = None) -> PackedSource:
    """Load a packed video, or decode and pack a video.

    Args:
        source: the video and the model.
        progress: shows the current stage.
        check: called with the model, and the plan or the packed video, before anything is decoded; its errors are raised.

    Raises:
        VidzipError: the video, a setting or the model is wrong; before a model is loaded if possible.
    """
    progress("open", 0, 1)
    return _load_packed(source, progress, check) if source.is_pack else _pack(source, progress, check)


def _load_packed(source: VideoSource, progress: Progress, check: Check | None) -> PackedSource:
    if source.video_options:
        raise BadArgument(
            f"{source.path!r} is packed already, and does not accept {', '.join(source.video_options)}",
            hint="leave out options about frames and decoding, or give the video",
        )
    packed = vidzip.PackedVideo.load(source.path)
    model = source.model.load(progress)
    if packed.tower != model.tower_fingerprint:
        name = f"{model.name}, the default without --model," if source.model.name is None else model.name
        raise TowerMismatch(
            f"{source.path!r} was packed by the vision tower {packed.tower}, but {name} has {model.tower_fingerprint}",
            hint="give the --model that packed it, or pack the video again with this one",
        )
    if check:
        check(model, packed)
    return PackedSource(source=source, model=model, packed=packed)


def _pack(source: VideoSource, progress: Progress, check: Check | None) -> PackedSource:
    info = vidzip.probe(source.path)
    if source.decoding.strict and info.warnings:
        raise DecodeError(f"{source.path!r}: {info.warnings[0]}", hint="download it again, or leave out --strict")
    # A wrong budget, time range or method is reported before a model is loaded.
    check_request(info, source.budget, source.start, source.end)
    from vidzip.compress import describe, parse_method

    method = parse_method(source.method, source.method_options)
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
        check(model, report.plan)
    progress("encode", 0, report.plan.num_frames)
    packed = model.pack(info, report.plan, method, decoding=source.decoding, on_progress=progress)
    return PackedSource(source=source, model=model, packed=packed, notes=(*packed.plan.notes, *report.notes))


def record(opened: PackedSource) -> dict[str, Any]:
    """Describe a packed video for JSON."""
    packed = opened.packed
    return {
        "frames_requested": packed.plan.budget.num_frames,
        "frames": packed.num_frames,
        "visual_tokens": packed.num_tokens,
        "uncompressed_tokens": packed.uncompressed_tokens,
        "baseline_tokens": opened.baseline_tokens,
        "tokens_per_frame": list(packed.tokens_per_frame),
        "timestamps_seconds": [round(moment, 6) for moment in packed.timestamps_seconds],
    }


def summary(opened: PackedSource, seconds: dict[str, float]) -> list[tuple[str, str]]:
    """Describe a packed video in table rows: frames, tokens before and after, and seconds per stage."""
    packed = opened.packed
    baseline = f"{BASELINE_FRAMES} uncompressed frames take {opened.baseline_tokens:,}"
    return [
        ("frames", _format_frames(packed)),
        ("tokens", f"{packed.uncompressed_tokens:,} → {packed.num_tokens:,}   ({baseline})"),
        *((f"{stage} s", f"{spent:.3f}") for stage, spent in seconds.items()),
    ]


def _format_frames(packed: PackedVideo) -> str:
    counts = zip(packed.timestamps_seconds, packed.tokens_per_frame, strict=True)
    empty = [f"{moment:.2f}" for moment, tokens in counts if not tokens]
    if not empty:
        return f"{packed.num_frames}"
    listed = " ".join([*empty[:MAX_LISTED_FRAMES], *(["…"] if len(empty) > MAX_LISTED_FRAMES else [])])
    return f"{packed.num_frames}, {len(empty)} of them without tokens, at seconds {listed}"
