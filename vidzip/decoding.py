"""From a plan to its frames: each frame once, re-planned first if the video ends early."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain

from vidzip.errors import EndsEarly
from vidzip.planner import Plan, drop_repeated_frames, replan_on_truncation
from vidzip.video.decoding import Frames, decode_chunks
from vidzip.video.info import VideoInfo
from vidzip.video.options import DecodeOptions
from vidzip.video.probing import probe
from vidzip.video.resizing import Shape


def decode_plan(
    video: str | os.PathLike[str] | VideoInfo,
    plan: Plan,
    shape: Shape,
    options: DecodeOptions | None = None,
    *,
    max_tokens_per_frame: int,
) -> tuple[Plan, Frames]:
    """Decode all frames of a plan at once, see :class:`PlannedFrames`.

    Returns:
        The plan that fits the decoded frames, and the frames, (F, 3, H, W).

    Raises:
        VideoError: the file cannot be decoded at a moment of the plan.
    """
    with closing(
        PlannedFrames(
            video, plan, shape, options, max_tokens_per_frame=max_tokens_per_frame, chunk_frames=plan.num_frames
        )
    ) as chunks:
        (frames,) = chunks
        return chunks.plan, frames


class PlannedFrames:
    """The frames of a plan, in chunks, while later ones are decoded. Iterate once.

    A video that ends before the plan's last moment is re-planned over its readable part before the first chunk comes.
    A frame that is on screen at several moments comes once.

    Args:
        video: the file that the plan was made for, or its :class:`~vidzip.VideoInfo`.
        plan: moments and tokens.
        shape: what frames are resized and cropped to: a preprocessor's ``shape``.
        options: how the file is decoded.
        max_tokens_per_frame: as in :func:`vidzip.plan`.
        chunk_frames: frames in a chunk, at most.

    Raises:
        EndsEarly: the video ends early, and damage is an error or the plan's moments were given by hand.
        VideoError: the file cannot be decoded.
    """

    def __init__(
        self,
        video: str | os.PathLike[str] | VideoInfo,
        plan: Plan,
        shape: Shape,
        options: DecodeOptions | None = None,
        *,
        max_tokens_per_frame: int,
        chunk_frames: int,
    ) -> None:
        options = options or DecodeOptions()
        path = video.path if isinstance(video, VideoInfo) else os.fspath(video)

        def start(plan: Plan) -> tuple[Frames, Iterator[Frames]]:
            chunks = decode_chunks(
                path,
                plan.timestamps_seconds,
                chunk_frames,
                size=shape.size,
                crop=shape.crop,
                resize=shape.resize,
                backend=options.backend,
                workers=options.workers,
                strict=options.strict,
                time_limit_seconds=options.time_limit_seconds,
            )
            return next(chunks), chunks

        try:
            self._first, self._chunks = start(plan)
        except EndsEarly as error:
            if options.strict or plan.policy is None:
                raise
            info = video if isinstance(video, VideoInfo) else probe(video)
            plan = replan_on_truncation(plan, info, error.end_seconds, max_tokens_per_frame)
            self._first, self._chunks = start(plan)
        self._plan = plan
        self._max_tokens_per_frame = max_tokens_per_frame
        self._timestamps: list[float] = []
        self._warnings: dict[str, None] = {}

    def __iter__(self) -> Iterator[Frames]:
        for chunk in chain([self._first], self._chunks):
            shown = chunk.timestamps_seconds
            before = (self._timestamps[-1] if self._timestamps else None, *shown)
            new = [i for i, seconds in enumerate(shown) if seconds != before[i]]
            self._timestamps.extend(shown)
            self._warnings.update(dict.fromkeys(chunk.warnings))
            if len(new) == len(shown):
                yield chunk
            elif new:
                yield replace(chunk, pixels=chunk.pixels[new], timestamps_seconds=tuple(shown[i] for i in new))

    @property
    def num_planned(self) -> int:
        """Frames of the plan, repeats included."""
        return self._plan.num_frames

    @property
    def plan(self) -> Plan:
        """The plan that fits the decoded frames; complete after the last chunk."""
        plan = drop_repeated_frames(self._plan, self._timestamps, self._max_tokens_per_frame)
        return replace(plan, warnings=(*plan.warnings, *self._warnings))

    @property
    def timestamps_seconds(self) -> tuple[float, ...]:
        """When each frame appears on screen, (F,); complete after the last chunk."""
        return tuple(dict.fromkeys(self._timestamps))

    def close(self) -> None:
        """Stop decoding."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()
