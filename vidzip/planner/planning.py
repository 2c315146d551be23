"""Choose frames and tokens of a video within a budget. Standard library only."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from vidzip.errors import BadArgument, BudgetInfeasible
from vidzip.planner.accuracy import FALLBACK_METHOD, AccuracyTable, measured_accuracy
from vidzip.planner.assumed_costs import NOT_CALIBRATED, default_costs
from vidzip.planner.budget import Budget, Limit, check_fits, split_evenly
from vidzip.planner.costs import CostModel, Costs, VideoStats, Workload, video_stats
from vidzip.planner.model_shapes import VIDEO_LLAVA_7B
from vidzip.planner.plans import Alternative, FrontierPoint, Plan, PlanReport
from vidzip.planner.search import DETAIL_FRAMES, Choice, SearchSpace, choose, choose_tokens
from vidzip.video.info import VideoInfo
from vidzip.video.sampling import Policy, check_count, count_frames, find_segment, sample

DEFAULT_NUM_FRAMES = 34
"""Frames of a default plan: the number at which VisionZip was the most accurate with 136 tokens."""


def plan(
    path_or_info: str | os.PathLike[str] | VideoInfo,
    budget: Budget | None = None,
    max_tokens_per_frame: int = VIDEO_LLAVA_7B.tokens_per_frame,
    *,
    policy: Policy = "middle",
    start: float | None = None,
    end: float | None = None,
    snap: bool = False,
    frames_per_clip: int | None = None,
    costs: CostModel | None = None,
    method: str = FALLBACK_METHOD,
) -> Plan:
    """Choose frames of a video, and split a token budget evenly among them.

    Args:
        path_or_info: a video file, or what :func:`vidzip.probe` returned for it.
        budget: ``Budget()`` if None. A given frame count is kept, and limits then leave fewer tokens; without one, the
            budget's preference decides.
        max_tokens_per_frame: S, tokens of one uncompressed frame, CLS included; Video-LLaVA's by default. If ``costs``
            are of a model with fewer, that number counts.
        policy: how timestamps are sampled, see :func:`vidzip.sample`.
        start: seconds; the video's start if None.
        end: seconds; the video's end if None.
        snap: move each timestamp to a keyframe within half the distance to its neighbours. Long videos decode several
            times faster, and other frames are used. ``warnings`` gives the largest shift. Cost predictions ignore it.
        frames_per_clip: frames that the vision tower encodes together; that of ``costs``, or 1, if None. If the frames
            do not fill whole clips, the tower repeats the last one; repeats get no tokens, and ``notes`` counts them.
        costs: predicts latency and memory: measured by ``vidzip calibrate``, or assumed by
            :func:`vidzip.planner.default_costs`. If None, and the budget has limits, the assumed costs of Video-LLaVA-7B
            on CUDA.
        method: the compression method whose measured accuracy a balanced plan follows.

    Raises:
        BudgetTooSmall: more frames were requested than there are tokens.
        BudgetInfeasible: even the smallest plan exceeds a limit.
        BadArgument: the time range is empty or outside of the video, a count is below 1, or too little is known of the
            video to predict costs.
        VideoError: the file cannot be probed.
    """
    return Planner(
        info=_probe(path_or_info),
        budget=budget or Budget(),
        max_tokens_per_frame=max_tokens_per_frame,
        policy=policy,
        start=start,
        end=end,
        snap=snap,
        frames_per_clip=frames_per_clip,
        costs=costs,
        method=method,
    ).plan()


def plan_with_report(
    path_or_info: str | os.PathLike[str] | VideoInfo,
    budget: Budget | None = None,
    max_tokens_per_frame: int = VIDEO_LLAVA_7B.tokens_per_frame,
    **options: Any,
) -> PlanReport:
    """Make a plan, and report its costs, binding constraints and alternatives; arguments and errors as :func:`plan`."""
    info = _probe(path_or_info)
    return Planner(info=info, budget=budget or Budget(), max_tokens_per_frame=max_tokens_per_frame, **options).report()


def check_request(info: VideoInfo, budget: Budget, start: float | None = None, end: float | None = None) -> None:
    """Check a budget and a time range without choosing anything: a cheap check before a model is loaded.

    Raises:
        BudgetTooSmall: more frames were requested than there are tokens.
        BadArgument: the time range is empty or outside of the video.
    """
    check_fits(budget.total_tokens, budget.num_frames or 1, budget.min_tokens_per_frame)
    find_segment(info, start, end)


@dataclass(frozen=True, kw_only=True, eq=False)
class Planner:
    """Chooses frames and tokens of one video once, and derives the plan, its report and the frontier from the choice.

    Attributes:
        info: the video.
        budget, max_tokens_per_frame, policy, start, end, snap, frames_per_clip, costs, method: as in :func:`plan`.

    Raises:
        BudgetTooSmall, BadArgument: as :func:`check_request`.
    """

    info: VideoInfo
    budget: Budget
    max_tokens_per_frame: int = VIDEO_LLAVA_7B.tokens_per_frame
    policy: Policy = "middle"
    start: float | None = None
    end: float | None = None
    snap: bool = False
    frames_per_clip: int | None = None
    costs: CostModel | None = None
    method: str = FALLBACK_METHOD

    def __post_init__(self) -> None:
        check_request(self.info, self.budget, self.start, self.end)

    def plan(self) -> Plan:
        """Make the plan; errors as :func:`plan`."""
        return self.place(self.choice.frames, self.choice.tokens)

    def place(self, num_frames: int, total_tokens: int) -> Plan:
        """Sample timestamps for a number of frames, and split tokens evenly among them."""
        info, start, end = self.info, self.start, self.end
        timestamps, warnings = sample(info, num_frames, self.policy, start, end), list(info.warnings)
        range_ = find_segment(info, start, end)
        if self.snap:
            timestamps, shift = _snap(info.path, timestamps)
            warnings.append(f"timestamps were moved to keyframes, by up to {shift:.2f} s")
        requested = self.budget.num_frames
        if requested is not None and num_frames < requested:
            whole = start is None and end is None
            holder = "the video has" if whole else f"{range_.start:g} s to {range_.end:g} s has"
            warnings.append(
                f"{holder} {num_frames} distinct frames, fewer than the {requested} requested: all are used"
            )
        if end is not None and end > range_.end:
            warnings.append(f"the video ends at {range_.end:g} s, before the requested end, {end:g} s")
        return Plan(
            video_identity=info.identity,
            budget=self.budget,
            timestamps_seconds=timestamps,
            tokens_per_frame=tuple(split_evenly(total_tokens, num_frames)),
            policy=self.policy,
            start_seconds=start,
            end_seconds=end,
            snap=self.snap,
            frames_per_clip=self.clip,
            warnings=tuple(warnings),
        )

    def report(self) -> PlanReport:
        """Make the plan, and report on it; errors as :func:`plan`."""
        return PlanReport(
            plan=self.plan(),
            method=self.method,
            cost_model=self.cost_model,
            costs=self.predict(self.choice.frames, self.choice.tokens),
            binding_constraints=self.choice.binding_constraints,
            alternatives=self._alternatives(),
            notes=tuple(self._notes()),
        )

    @cached_property
    def cost_model(self) -> CostModel | None:
        """What predicts costs: that of Video-LLaVA-7B on CUDA if none is given, and the budget has limits."""
        if self.costs is None and (self.budget.max_latency_seconds or self.budget.max_memory_bytes):
            return default_costs(VIDEO_LLAVA_7B, "cuda")
        return self.costs

    @cached_property
    def clip(self) -> int:
        """Frames that the vision tower encodes together."""
        if self.frames_per_clip is not None:
            return check_count(self.frames_per_clip, "frames_per_clip")
        return 1 if self.cost_model is None else self.cost_model.shape.frames_per_clip

    @cached_property
    def num_video_frames(self) -> int:
        """Distinct frames in the time range."""
        return count_frames(self.info, self.start, self.end)

    @cached_property
    def accuracy(self) -> AccuracyTable:
        """Measured accuracy of the method, or of the method that replaces it."""
        return measured_accuracy().table(self.method)

    @cached_property
    def space(self) -> SearchSpace:
        """The plans within all limits.

        Raises:
            BadArgument: ``max_tokens_per_frame`` is below 1 or below the budget's minimum.
        """
        budget, model = self.budget, self.cost_model
        most = check_count(self.max_tokens_per_frame, "max_tokens_per_frame")
        if model is not None:
            most = min(most, model.shape.tokens_per_frame)
        if most < budget.min_tokens_per_frame:
            raise BadArgument(
                f"the minimum is {budget.min_tokens_per_frame} tokens per frame, but a frame has {most}",
                hint=f"lower --min-tokens to {most}",
            )
        return SearchSpace(
            video_frames=self.num_video_frames,
            total_tokens=budget.total_tokens,
            max_seconds=budget.max_latency_seconds or math.inf,
            max_memory_bytes=budget.max_memory_bytes or math.inf,
            min_tokens_per_frame=budget.min_tokens_per_frame,
            max_tokens_per_frame=most,
            predict_costs=None if model is None else partial(self._seconds_and_bytes, model),
        )

    @cached_property
    def choice(self) -> Choice:
        """The chosen frames and tokens.

        Raises:
            BudgetInfeasible: even the smallest plan exceeds a limit.
        """
        requested = self.budget.num_frames
        if requested is None:
            frames, choice = 1, choose(self.space, self.budget.prefer, self.accuracy)
        else:
            frames = min(requested, self.num_video_frames)
            choice = choose_tokens(self.space, frames)
            if choice is not None and frames < requested:
                choice = replace(choice, binding_constraints=(*choice.binding_constraints, "video"))
        if choice is None:
            raise self._infeasible(frames)
        return choice

    def predict(self, frames: int, tokens: int) -> Costs | None:
        """Predict what a plan costs; None without a cost model."""
        model = self.cost_model
        return None if model is None else model.predict(self._workload(model, frames, tokens))

    def frontier(self, num_frames: int | None = None) -> tuple[FrontierPoint, ...]:
        """Return the most tokens that frame counts may have, up to the first count that exceeds a limit.

        The counts are the measured ones, powers of two on either side of them, the largest one within all limits, the
        largest one that the video and the token budget allow, and ``num_frames``.
        """
        fewest, space, table = self.budget.min_tokens_per_frame, self.space, self.accuracy
        most = space.frames_bound(fewest)
        counts = {most, space.max_frames(fewest), *table.frames}
        counts |= {count for count in (2**power for power in range(most.bit_length())) if table.frames_outside(count)}
        if num_frames is not None:
            counts.add(num_frames)
        points = []
        for frames in sorted(count for count in counts if 1 <= count <= most):
            tokens = space.max_tokens(frames) or frames * fewest
            points.append(
                FrontierPoint(
                    num_frames=frames,
                    total_tokens=tokens,
                    accuracy=table.at(frames, tokens) if table.covers(frames, tokens) else None,
                    costs=self.predict(frames, tokens),
                    exceeded_limits=space.exceeded(frames, tokens),
                )
            )
            if points[-1].exceeded_limits:
                break
        return tuple(points)

    def _seconds_and_bytes(self, costs: CostModel, frames: int, tokens: int) -> tuple[float, float]:
        work = self._workload(costs, frames, tokens)
        return costs.seconds(work), costs.shape.peak_bytes(work)

    def _workload(self, costs: CostModel, frames: int, tokens: int) -> Workload:
        return Workload(
            num_frames=frames,
            num_encoded_frames=frames + -frames % self.clip,
            total_tokens=tokens,
            prompt_tokens=costs.shape.prompt_tokens,
            video=self._video_stats,
        )

    @cached_property
    def _video_stats(self) -> VideoStats:
        return video_stats(self.info, self.start, self.end)

    def _notes(self) -> Iterator[str]:
        """Say what was assumed for the choice and the predictions."""
        model = self.cost_model
        if model is not None and not model.is_calibrated:
            yield f"costs of {model.shape.name} on {model.device} are assumed, {NOT_CALIBRATED}"
        if self.budget.num_frames is not None or self.budget.prefer != "balanced":
            return
        table = self.accuracy
        if table.method != self.method:
            yield f"accuracy was not measured for {self.method}: that of {table.method} is used"
        for unit, chosen, measured in (
            ("tokens", self.choice.tokens, table.tokens),
            ("frames", self.choice.frames, table.frames),
        ):
            if not measured[0] <= chosen <= measured[-1]:
                counts = " to ".join(f"{count:,}" for count in dict.fromkeys((measured[0], measured[-1])))
                yield f"accuracy was measured at {counts} {unit}: for {chosen:,}, that of the nearest count is used"

    def _alternatives(self) -> tuple[Alternative, ...]:
        """Find the nearest plans: of more frames, of more tokens and, if accuracy decides, of fewer frames."""
        plans = dict.fromkeys(self._nearest_plans(self.choice.frames, self.choice.tokens))
        return tuple(
            self._alternative(frames, tokens)
            for frames, tokens in plans
            if tokens <= frames * self.space.max_tokens_per_frame
        )

    def _nearest_plans(self, frames: int, tokens: int) -> Iterator[tuple[int, int]]:
        """Yield frames and tokens of the plans nearest to a choice."""
        fewest, space, prefer = self.budget.min_tokens_per_frame, self.space, self.budget.prefer
        each = tokens // frames
        if self.budget.num_frames is None and prefer == "coverage":
            yield frames + 1, (frames + 1) * fewest
        elif self.budget.num_frames is None and prefer == "detail":
            few = min(frames, DETAIL_FRAMES)
            yield frames + 1, (frames + 1) * (each if few == DETAIL_FRAMES else fewest)
            yield few, few * (each + 1)
        elif self.budget.num_frames is None:
            below = max((count for count in self.accuracy.frames if count < frames), default=None)
            above = min((count for count in self.accuracy.frames if count > frames), default=frames + 1)
            for count in (below, above if space.max_tokens(above) else frames + 1):
                if count is not None:
                    yield count, space.max_tokens(count) or count * fewest
        yield frames, tokens + 1

    def _alternative(self, frames: int, tokens: int) -> Alternative:
        exceeded = self.space.exceeded(frames, tokens)
        reasons = [self._excess(limit, frames, tokens) for limit in exceeded]
        if not exceeded:
            plans = ((frames, tokens), (self.choice.frames, self.choice.tokens))
            theirs, ours = (self.accuracy.at(*one) for one in plans)
            source = "measured" if all(self.accuracy.covers(*one) for one in plans) else "nearest measured"
            reasons = [f"{source} accuracy is {theirs:.1%}, and {ours:.1%} with {self.choice.frames} frames"]
        return Alternative(
            num_frames=frames,
            total_tokens=tokens,
            costs=self.predict(frames, tokens) if frames <= self.num_video_frames else None,
            exceeded_limits=exceeded,
            reason=" and ".join(reasons),
        )

    def _excess(self, limit: Limit, frames: int, tokens: int) -> str:
        """Say by which numbers a plan exceeds a limit."""
        seconds, memory = self.space.predict(frames, tokens)
        return {
            "tokens": f"{tokens:,} tokens exceed the budget of {self.budget.total_tokens:,}",
            "latency": f"{_round_up(seconds)} s exceeds the latency limit of {self.space.max_seconds:g} s",
            "memory": f"{_format_bytes(memory)} exceeds the memory limit of {self.space.max_memory_bytes / 1e9:g} GB",
            "video": f"the video has {self.num_video_frames:,} frames",
        }[limit]

    def _infeasible(self, frames: int) -> BudgetInfeasible:
        """Say which limits even the fewest tokens of a number of frames exceed, and what would help."""
        fewest, space = self.budget.min_tokens_per_frame, self.space
        tokens = frames * fewest
        exceeded = space.exceeded(frames, tokens)
        hints = []
        fewer = space.max_frames(fewest, at_most=frames)
        if fewer:
            hints.append(f"lower --frames to {fewer}")
        if fewest > 1 and space.allows(frames, frames):
            each = space.largest(1, fewest, lambda each: (frames, frames * each))
            hints.append(f"lower --min-tokens to {each}")
        seconds, memory = space.predict(frames, tokens)
        enough = {
            "latency": f"--max-latency to {_round_up(seconds)}",
            "memory": f"--max-memory to {_format_bytes(memory).replace(' ', '')}",
        }
        hints.append(f"raise {' and '.join(enough[limit] for limit in exceeded)}")
        if self.cost_model is not None and not self.cost_model.is_calibrated:
            hints[-1] += f" ({NOT_CALIBRATED})"
        smallest = f"{frames} frame{'s' if frames > 1 else ''} and {tokens} token{'s' if tokens > 1 else ''}"
        return BudgetInfeasible(
            f"the smallest plan, {smallest}, takes {_round_up(seconds)} s and {_format_bytes(memory)}: "
            + " and ".join(self._excess(limit, frames, tokens) for limit in exceeded),
            hint=" or ".join(hints),
        )


def _format_bytes(num_bytes: float) -> str:
    return f"{_round_up(num_bytes / 1e9)} GB" if num_bytes >= 1e9 else f"{_round_up(num_bytes / 1e6)} MB"


def _round_up(value: float) -> str:
    """Round a number up to four digits."""
    rounded = float(f"{value:.4g}")
    if rounded < value:
        rounded = float(f"{rounded + 10.0 ** (math.floor(math.log10(value)) - 3):.4g}")
    return f"{rounded:g}"


def _probe(path_or_info: str | os.PathLike[str] | VideoInfo) -> VideoInfo:
    """Probe a file. The decoder is imported only if a path is planned."""
    if isinstance(path_or_info, VideoInfo):
        return path_or_info
    from vidzip.video.probing import probe

    return probe(path_or_info)


def _snap(path: str, timestamps_seconds: Sequence[float]) -> tuple[tuple[float, ...], float]:
    """Move timestamps to keyframes, which the decoder knows."""
    from vidzip.video.snapping import snap_to_keyframes

    return snap_to_keyframes(path, timestamps_seconds)
