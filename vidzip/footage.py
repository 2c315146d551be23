"""The pictures of a plan, decoded ahead of the tower that will see them: in another thread, or another process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from jaxtyping import UInt8
from torch import Tensor

from vidzip.errors import EndsEarly
from vidzip.planner import Plan, drop_repeated_frames, replan_on_truncation
from vidzip.video.decoding import decode
from vidzip.video.info import VideoInfo
from vidzip.video.options import DecodeOptions
from vidzip.video.probing import probe
from vidzip.video.resizing import Shape

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Footage:
    """What a plan shows of its video, each frame once.

    Attributes:
        plan: as it turned out: where frames repeat, without the repeats; where the video ends early, planned anew.
        pixels: uint8 RGB in the shape that was asked for, (F, 3, H, W).
        timestamps_seconds: when each frame appears on screen, (F,).
    """

    plan: Plan
    pixels: UInt8[Tensor, "frames 3 height width"]
    timestamps_seconds: tuple[float, ...]


def shoot(
    video: str | os.PathLike[str] | VideoInfo,
    plan: Plan,
    shape: Shape,
    decoding: DecodeOptions | None = None,
    *,
    max_tokens_per_frame: int,
) -> Footage:
    """Decode the frames of a plan.

    Args:
        video: the file the plan was made for, or what :func:`vidzip.probe` said of it.
        plan: which moments, and how many tokens each.
        shape: what pictures are brought to: a preprocessor's ``shape``.
        decoding: how the file is decoded; ``DecodeOptions()`` when left out.
        max_tokens_per_frame: as in :func:`vidzip.plan`.

    Raises:
        VideoError: the file cannot be decoded at a moment of the plan.
    """
    decoding = decoding or DecodeOptions()
    path = video.path if isinstance(video, VideoInfo) else os.fspath(video)
    plan, frames = over_what_there_is(
        plan,
        video,
        decoding,
        max_tokens_per_frame,
        lambda real: decode(
            path,
            real.timestamps_seconds,
            size=shape.size,
            crop=shape.crop,
            resize=shape.resize,
            workers=decoding.workers,
            backend=decoding.backend,
            strict=decoding.strict,
            time_limit_seconds=decoding.time_limit_seconds,
        ),
    )
    appears = frames.timestamps_seconds
    firsts = [i for i, seconds in enumerate(appears) if i == 0 or seconds != appears[i - 1]]
    return Footage(
        plan=settle(plan, appears, frames.warnings, max_tokens_per_frame),
        pixels=frames.pixels if len(firsts) == len(appears) else frames.pixels[firsts],
        timestamps_seconds=tuple(appears[i] for i in firsts),
    )


def over_what_there_is(
    plan: Plan,
    video: str | os.PathLike[str] | VideoInfo,
    decoding: DecodeOptions,
    max_tokens_per_frame: int,
    work: Callable[[Plan], T],
) -> tuple[Plan, T]:
    """Do work by a plan; where the video ends before its last moment, plan anew over what there is, and do it again.

    Returns:
        The plan that held, and what the work gave.

    Raises:
        EndsEarly: the plan's moments were given by hand, or damage is to be an error.
        VideoError: whatever the work raises.
    """
    try:
        return plan, work(plan)
    except EndsEarly as error:
        if decoding.strict or plan.policy is None:
            raise
        info = video if isinstance(video, VideoInfo) else probe(video)
        plan = replan_on_truncation(plan, info, error.ends_seconds, max_tokens_per_frame)
        return plan, work(plan)


def settle(
    plan: Plan, appears_seconds: tuple[float, ...] | list[float], warnings: tuple[str, ...] | list[str], max_tokens: int
) -> Plan:
    """Bring a plan to what was seen: each frame once, and what is wrong with the file."""
    plan = drop_repeated_frames(plan, appears_seconds, max_tokens)
    return replace(plan, warnings=(*plan.warnings, *warnings))
