"""From a video and a budget to a plan: which moments, and how many tokens for each. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from vidzip.errors import BadArgument
from vidzip.planner.accuracy import FALLBACK
from vidzip.planner.budget import Budget, check_fits, evenly
from vidzip.planner.choosing import Cap
from vidzip.planner.costs import CostModel, Costs
from vidzip.planner.deciding import Neighbour, Planner
from vidzip.video.info import VideoInfo, cut_short
from vidzip.video.sampling import Policy, check_count, sample

DEFAULT_NUM_FRAMES = 34
"""Frames of a plan that names no count, by default: those with which VisionZip was the most accurate at 136 tokens."""

WHOLE_FRAME_TOKENS = 257
"""Tokens of one uncompressed frame where no model says otherwise: Video-LLaVA's 16 by 16 patches and CLS."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which moments of one video to look at, and how many tokens each may keep.

    Attributes:
        video_identity: the fingerprint of the video it was made for; None where that was not known.
        budget: what it was made from.
        timestamps_seconds: the moments, ascending, (F,).
        tokens_per_frame: tokens each frame may keep, (F,).
        policy: how the moments were chosen; None where they were given by hand.
        start_seconds: where the stretch that was asked for begins; None for the video's start.
        end_seconds: where it ends; None for the video's end.
        snap: whether the moments were moved to keyframes.
        frames_per_clip: frames that the model's tower encodes together; 1 where each is encoded alone.
        warnings: what differs from what was asked for, in words.
        method: the compression method whose accuracies it was chosen by.
        costs: what it is predicted to cost; None where nothing was said of costs. These and those below are as they
            were when it was made: they are not kept in packs, and make no plan another one.
        binds: what keeps the budget's preference from anything better.
        rejected: the nearest other plans, and what speaks against them.
        remarks: how frames and tokens were chosen, where that is not what one would expect, in words.
        cost_model: what predicted the costs, for the plan to be made anew by.

    Raises:
        BadArgument: no frame, two lists of different lengths, a negative count, or tokens that pass the budget.
    """

    video_identity: str | None
    budget: Budget
    timestamps_seconds: tuple[float, ...]
    tokens_per_frame: tuple[int, ...]
    policy: Policy | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    snap: bool = False
    frames_per_clip: int = 1
    warnings: tuple[str, ...] = ()
    method: str = field(default=FALLBACK, compare=False)
    costs: Costs | None = field(default=None, compare=False)
    binds: tuple[Cap, ...] = field(default=(), compare=False)
    rejected: tuple[Neighbour, ...] = field(default=(), compare=False, repr=False)
    remarks: tuple[str, ...] = field(default=(), compare=False)
    cost_model: CostModel | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames_per_clip", check_count(self.frames_per_clip, "frames_per_clip"))
        if len(self.timestamps_seconds) != len(self.tokens_per_frame):
            raise BadArgument(
                f"{len(self.timestamps_seconds)} timestamps for {len(self.tokens_per_frame)} token counts",
                hint="give one token count a timestamp",
            )
        if not self.tokens_per_frame or min(self.tokens_per_frame) < 0:
            raise BadArgument(
                f"the frames' tokens are {self.tokens_per_frame}", hint="plan one frame or more, of 0 tokens or more"
            )
        if self.total_tokens > self.budget.total_tokens:
            raise BadArgument(
                f"the frames' tokens sum to {self.total_tokens}, past the budget of {self.budget.total_tokens}",
                hint="give the frames fewer tokens, or raise the budget",
            )

    @property
    def num_frames(self) -> int:
        """F, the number of frames."""
        return len(self.timestamps_seconds)

    @property
    def num_repeats(self) -> int:
        """How often the last frame is encoded once more, to fill the last clip; the repeats get no tokens."""
        return -self.num_frames % self.frames_per_clip

    @property
    def num_encoded_frames(self) -> int:
        """Frames that the tower encodes, the repeats among them: whole clips."""
        return self.num_frames + self.num_repeats

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth knowing about the plan, in words."""
        if self.frames_per_clip == 1:
            return self.remarks
        clips = self.num_encoded_frames // self.frames_per_clip
        note = f"{self.num_frames} frames are encoded in clips of {self.frames_per_clip}, {clips} in all"
        if self.num_repeats:
            note += (
                f": the last one is repeated {self.num_repeats} times to fill its clip, and the repeats get no tokens"
            )
        return (note, *self.remarks)

    @property
    def total_tokens(self) -> int:
        """Tokens all frames keep together."""
        return sum(self.tokens_per_frame)

    @property
    def unused_tokens(self) -> int:
        """Tokens of the budget that are left: every frame is whole already, or more would pass a cap."""
        return self.budget.total_tokens - self.total_tokens


def plan(
    path_or_info: str | os.PathLike[str] | VideoInfo,
    budget: Budget | None = None,
    max_tokens_per_frame: int = WHOLE_FRAME_TOKENS,
    *,
    policy: Policy = "middle",
    start: float | None = None,
    end: float | None = None,
    snap: bool = False,
    frames_per_clip: int | None = None,
    costs: CostModel | None = None,
    method: str = FALLBACK,
) -> Plan:
    """Spread a budget over a video: frames and tokens as the budget prefers them within its caps, shared out evenly.

    Args:
        path_or_info: a video file, or what :func:`vidzip.probe` said of it.
        budget: what may be spent; ``Budget()`` when left out. Its frame count is taken as it is, and caps then leave
            fewer tokens; without one, its preference chooses.
        max_tokens_per_frame: tokens of one uncompressed frame, S; more would be of no use to it. The default is that
            of Video-LLaVA's tower, CLS included. Where ``costs`` are of a model of fewer, those count.
        policy: how moments are chosen, see :func:`vidzip.sample`.
        start: seconds; the video's start when left out.
        end: seconds; the video's end when left out.
        snap: move each moment to a keyframe within half the way to its neighbours: long videos are decoded several
            times as fast then, and other frames are seen. ``warnings`` tells the largest shift. Predictions do not
            know of it.
        frames_per_clip: frames that the model's tower encodes together; those of ``costs``, or 1, when left out. Where
            the frames fill no whole number of clips, the last one is repeated in the tower; the repeats get no tokens,
            and ``notes`` tells how many.
        costs: what predicts latency and memory: measured by ``vidzip calibrate``, or assumed by
            :func:`vidzip.planner.default_costs`. Where it is left out, and there are caps, assumed of Video-LLaVA-7B
            on CUDA.
        method: the compression method, whose measured accuracies a balanced plan follows.

    Raises:
        BudgetTooSmall: more frames were asked for than there are tokens.
        BudgetInfeasible: not even the smallest plan keeps to the caps.
        BadArgument: an empty or impossible stretch, a count below 1, or too little is known of the video to predict
            what it costs.
        VideoError: a path that cannot be probed.
    """
    budget = budget or Budget()
    max_tokens_per_frame = check_count(max_tokens_per_frame, "max_tokens_per_frame")
    check_fits(budget.total_tokens, budget.num_frames or 1, budget.min_tokens_per_frame)
    info = path_or_info if isinstance(path_or_info, VideoInfo) else _probe(path_or_info)
    planner = Planner(
        info=info,
        budget=budget,
        whole_tokens=max_tokens_per_frame,
        start=start,
        end=end,
        frames_per_clip=frames_per_clip,
        costs=costs,
        method=method,
    )
    choice = planner.choose()
    timestamps = sample(info, choice.frames, policy, start, end)

    warnings, stretch = list(info.warnings), planner.stretch
    if snap:
        timestamps, shift = _snap(info.path, timestamps)
        warnings.append(f"moments were moved to keyframes, by up to {shift:.2f} s")
    if budget.num_frames is not None and choice.frames < budget.num_frames:
        there = "the video has" if start is None and end is None else f"{stretch.start:g} s to {stretch.end:g} s holds"
        warnings.append(
            f"{there} {choice.frames} distinct frames, fewer than the {budget.num_frames} asked for: all are used"
        )
    if end is not None and end > stretch.end:
        warnings.append(f"the video ends at {stretch.end:g} s, before the end asked for, {end:g} s")
    return Plan(
        video_identity=info.identity,
        budget=budget,
        timestamps_seconds=timestamps,
        tokens_per_frame=tuple(evenly(choice.tokens, choice.frames)),
        policy=policy,
        start_seconds=start,
        end_seconds=end,
        snap=snap,
        frames_per_clip=planner.clip,
        warnings=tuple(warnings),
        method=method,
        costs=planner.predict(choice.frames, choice.tokens),
        binds=choice.binds,
        rejected=planner.neighbours(choice),
        remarks=planner.remarks(choice),
        cost_model=planner.costs,
    )


def replan(plan_: Plan, info: VideoInfo, ends_seconds: float, max_tokens_per_frame: int) -> Plan:
    """Re-make a plan over what there is of a video that turned out to end earlier.

    Args:
        plan_: the plan as it was made.
        info: the video as it was believed to be.
        ends_seconds: when its last frame leaves the screen, on the file's own clock.
        max_tokens_per_frame: as in :func:`plan`.

    Returns:
        The plan that would have been made, with a warning.

    Raises:
        BadArgument: the moments were given by hand, or nothing is left of the stretch that was asked for.
    """
    if plan_.policy is None:
        raise BadArgument("the plan's moments were given by hand", hint="plan it again with vidzip.plan")
    real = cut_short(info, ends_seconds)
    remade = plan(
        real,
        plan_.budget,
        max_tokens_per_frame,
        policy=plan_.policy,
        start=plan_.start_seconds,
        end=plan_.end_seconds,
        snap=plan_.snap,
        frames_per_clip=plan_.frames_per_clip,
        costs=plan_.cost_model,
        method=plan_.method,
    )
    promised = info.start_seconds + (info.duration_seconds or 0.0)
    warning = (
        f"{info.path!r} promises {promised:.3f} s, but ends at {ends_seconds:.3f} s: "
        f"{remade.num_frames} frames were planned anew over what is there"
    )
    return replace(remade, warnings=(*remade.warnings, warning))


def merge_repeats(plan: Plan, appears_seconds: Sequence[float], max_tokens_per_frame: int) -> Plan:
    """Re-make a plan whose moments turned out to show some frames more than once.

    A frame's first moment stays and takes over the tokens of its repeats.

    Args:
        plan: the plan as it was made.
        appears_seconds: when the frame shown at each moment appears, ascending, (F,).
        max_tokens_per_frame: as in :func:`plan`.

    Returns:
        The same plan where nothing repeats; else a shorter one, with a warning.
    """
    moments: list[float] = []
    tokens: list[int] = []
    latest: float | None = None
    for appears, moment, share in zip(appears_seconds, plan.timestamps_seconds, plan.tokens_per_frame, strict=True):
        if appears == latest:
            tokens[-1] = min(tokens[-1] + share, max_tokens_per_frame)
        else:
            moments.append(moment)
            tokens.append(share)
        latest = appears
    if len(moments) == plan.num_frames:
        return plan
    warning = f"the {plan.num_frames} moments show {len(moments)} distinct frames: each is used once"
    return replace(
        plan,
        timestamps_seconds=tuple(moments),
        tokens_per_frame=tuple(tokens),
        warnings=(*plan.warnings, warning),
    )


def _probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Probe a file: the decoder is loaded only where a path, not a VideoInfo, is planned."""
    from vidzip.video.probing import probe

    return probe(path)


def _snap(path: str, timestamps_seconds: Sequence[float]) -> tuple[tuple[float, ...], float]:
    """Move moments to keyframes, which the decoder knows."""
    from vidzip.video.snapping import snap_to_keyframes

    return snap_to_keyframes(path, timestamps_seconds)
