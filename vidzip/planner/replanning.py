"""Adjust a plan to what decoding found. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vidzip.errors import BadArgument
from vidzip.planner.planning import Planner
from vidzip.planner.plans import Plan
from vidzip.video.info import VideoInfo, truncate_info


def replan_on_truncation(plan: Plan, info: VideoInfo, end_seconds: float, max_tokens_per_frame: int) -> Plan:
    """Re-sample a plan from the readable part of a video that ends earlier than its header says.

    Args:
        plan: the plan for the whole video.
        info: the video as it was probed.
        end_seconds: when the last readable frame ends, in the file's own time.
        max_tokens_per_frame: as in :func:`vidzip.plan`.

    Returns:
        A plan of at most as many frames and tokens, with a warning.

    Raises:
        BadArgument: the timestamps were given by hand, or nothing is readable in the requested time range.
    """
    if plan.policy is None:
        raise BadArgument("the plan's timestamps were given by hand", hint="plan again with vidzip.plan")
    planner = Planner(
        info=truncate_info(info, end_seconds),
        budget=plan.budget,
        policy=plan.policy,
        start=plan.start_seconds,
        end=plan.end_seconds,
        snap=plan.snap,
        frames_per_clip=plan.frames_per_clip,
    )
    num_frames = min(plan.num_frames, planner.num_video_frames)
    replanned = planner.place(num_frames, min(plan.total_tokens, num_frames * max_tokens_per_frame))
    promised = info.start_seconds + (info.duration_seconds or 0.0)
    warning = (
        f"the header of {info.path!r} says {promised:.3f} s, but the video ends at {end_seconds:.3f} s: "
        f"{num_frames} frames were re-sampled from the readable part"
    )
    return replace(replanned, warnings=(*replanned.warnings, warning))


def drop_repeated_frames(plan: Plan, appears_seconds: Sequence[float], max_tokens_per_frame: int) -> Plan:
    """Drop timestamps that show the same frame as the one before; its first timestamp gets their tokens.

    Args:
        plan: the plan as it was decoded.
        appears_seconds: when the frame shown at each timestamp appears, ascending, (F,).
        max_tokens_per_frame: as in :func:`vidzip.plan`.

    Returns:
        The same plan if no frame repeats; otherwise a shorter one, with a warning.
    """
    timestamps: list[float] = []
    tokens: list[int] = []
    latest: float | None = None
    for appears, timestamp, count in zip(appears_seconds, plan.timestamps_seconds, plan.tokens_per_frame, strict=True):
        if appears == latest:
            tokens[-1] = min(tokens[-1] + count, max_tokens_per_frame)
        else:
            timestamps.append(timestamp)
            tokens.append(count)
        latest = appears
    if len(timestamps) == plan.num_frames:
        return plan
    warning = f"the {plan.num_frames} timestamps show {len(timestamps)} distinct frames: each is used once"
    return replace(
        plan,
        timestamps_seconds=tuple(timestamps),
        tokens_per_frame=tuple(tokens),
        warnings=(*plan.warnings, warning),
    )
