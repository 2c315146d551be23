"""What one video and one budget allow, what it costs, and what speaks against the rest. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from vidzip.errors import BadArgument, BudgetInfeasible
from vidzip.planner.accuracy import FALLBACK, Accuracy, measured
from vidzip.planner.assumed import NOT_CALIBRATED, default_costs
from vidzip.planner.budget import Budget
from vidzip.planner.choosing import FEWEST_FRAMES, Cap, Choice, Price, Space, choose, choose_tokens
from vidzip.planner.costs import CostModel, Costs, Pictures, Workload, pictures_of
from vidzip.planner.shapes import VIDEO_LLAVA_7B
from vidzip.video.info import VideoInfo
from vidzip.video.sampling import Stretch, check_count, stretch_of


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A plan that was not chosen.

    Attributes:
        num_frames: its frames, F.
        total_tokens: its tokens in all.
        costs: what it is predicted to cost; None where nothing was said of costs, or the video has no such frames.
        breaks: the caps that it passes; none, where it is allowed and worse.
        reason: what speaks against it, in words.
    """

    num_frames: int
    total_tokens: int
    costs: Costs | None
    breaks: tuple[Cap, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """The most that a number of frames may have.

    Attributes:
        num_frames: F.
        total_tokens: the most tokens that pass no cap; the least that there can be, where even those pass one.
        accuracy: as measured of the method, or of the one that stands in for it; None outside of what was measured.
        costs: what it is predicted to cost; None where nothing was said of costs.
        breaks: the caps that it passes with the least of tokens; none where it is allowed.
    """

    num_frames: int
    total_tokens: int
    accuracy: float | None
    costs: Costs | None
    breaks: tuple[Cap, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Planner:
    """A video, a budget, and what plans cost.

    Attributes:
        info: the video.
        budget: what may be spent.
        start: seconds; the video's start when None.
        end: seconds; the video's end when None.
        whole_tokens: S, of a frame that is kept whole; at most that of the model that ``costs`` are of.
        frames_per_clip: frames that the model's tower encodes together; None for those of ``costs``, or 1.
        costs: what predicts; None where nothing is said of costs. Where it is left out, and the budget has caps, what
            is assumed of Video-LLaVA-7B on CUDA.
        method: the compression method.

    Raises:
        BadArgument: a count below 1, or frames that hold fewer tokens than each is to get.
    """

    info: VideoInfo
    budget: Budget
    start: float | None = None
    end: float | None = None
    whole_tokens: int
    frames_per_clip: int | None = None
    costs: CostModel | None = None
    method: str = FALLBACK

    def __post_init__(self) -> None:
        costs = self.costs
        if costs is None and (self.budget.max_latency_seconds or self.budget.max_memory_bytes):
            costs = default_costs(VIDEO_LLAVA_7B, "cuda")
        whole = check_count(self.whole_tokens, "max_tokens_per_frame")
        if costs is not None:
            whole = min(whole, costs.shape.tokens_per_frame)
        if whole < self.budget.min_tokens_per_frame:
            raise BadArgument(
                f"every frame is to get {self.budget.min_tokens_per_frame} tokens, and has {whole} in all",
                hint=f"lower --min-tokens to {whole}",
            )
        object.__setattr__(self, "costs", costs)
        object.__setattr__(self, "whole_tokens", whole)

    @cached_property
    def clip(self) -> int:
        """Frames that the tower encodes together."""
        if self.frames_per_clip is not None:
            return check_count(self.frames_per_clip, "frames_per_clip")
        return 1 if self.costs is None else self.costs.shape.frames_per_clip

    @cached_property
    def stretch(self) -> Stretch:
        """The frames to choose from."""
        return stretch_of(self.info, self.start, self.end)

    @cached_property
    def accuracy(self) -> Accuracy:
        """What was measured of the method, or of the one that stands in for it."""
        return measured().of(self.method)

    @cached_property
    def space(self) -> Space:
        """The plans that are allowed."""
        budget = self.budget
        return Space(
            most_frames=self.stretch.count,
            total_tokens=budget.total_tokens,
            seconds=budget.max_latency_seconds or math.inf,
            memory_bytes=budget.max_memory_bytes or math.inf,
            min_tokens=budget.min_tokens_per_frame,
            whole_tokens=self.whole_tokens,
            price=None if self.costs is None else self._price(self.costs),
        )

    def choose(self) -> Choice:
        """Choose frames and tokens.

        Raises:
            BudgetInfeasible: not even the smallest plan keeps to the caps.
        """
        asked = self.budget.num_frames
        if asked is None:
            frames, choice = 1, choose(self.space, self.budget.prefer, self.accuracy)
        else:
            frames = min(asked, self.stretch.count)
            choice = choose_tokens(self.space, frames)
            if choice is not None and frames < asked:
                choice = replace(choice, binds=(*choice.binds, "video"))
        if choice is None:
            raise self._infeasible(frames)
        return choice

    def predict(self, frames: int, tokens: int) -> Costs | None:
        """What a plan costs; None where nothing is said of costs."""
        return None if self.costs is None else self.costs.predict(self._work(self.costs, frames, tokens))

    def neighbours(self, choice: Choice) -> tuple[Neighbour, ...]:
        """The nearest plans of more frames, of more tokens, and, where accuracy decides, of fewer frames."""
        others = dict.fromkeys(self._around(choice.frames, choice.tokens))
        return tuple(self._neighbour(choice, *one) for one in others if one[1] <= one[0] * self.whole_tokens)

    def remarks(self, choice: Choice) -> tuple[str, ...]:
        """What is to be known of how the choice was made, in words."""
        said = []
        if self.costs is not None and not self.costs.is_calibrated:
            said.append(f"costs of {self.costs.shape.name} on {self.costs.device} are assumed, {NOT_CALIBRATED}")
        if self.budget.num_frames is None and self.budget.prefer == "balanced":
            table = self.accuracy
            if table.method != self.method:
                said.append(f"no accuracies were measured of {self.method}: those of {table.method} are followed")
            if not table.tokens[0] <= choice.tokens <= table.tokens[-1]:
                there = " to ".join(f"{count:,}" for count in dict.fromkeys((table.tokens[0], table.tokens[-1])))
                said.append(
                    f"accuracies were measured at {there} tokens, and {choice.tokens:,} are taken as the nearest"
                )
            if table.outside(choice.frames):
                there = f"{table.frames[0]:,} to {table.frames[-1]:,}"
                said.append(
                    f"accuracies were measured at {there} frames, and {choice.frames:,} are taken as the nearest"
                )
        return tuple(said)

    def frontier(self, num_frames: int | None = None) -> tuple[Point, ...]:
        """The most tokens that frame counts may have, up to the first count that may have none.

        Counts are those that were measured, powers of two on either side of them, the largest that may have tokens, the
        largest that there could be, and one that is given.
        """
        least, space, table = self.budget.min_tokens_per_frame, self.space, self.accuracy
        most = space.limit_frames(least)
        counts = {most, space.most_frames_of(least), *table.frames}
        counts |= {count for count in (2**power for power in range(most.bit_length())) if table.outside(count)}
        if num_frames is not None:
            counts.add(num_frames)
        points = []
        for frames in sorted(count for count in counts if 1 <= count <= most):
            tokens = space.most_tokens(frames) or frames * least
            points.append(
                Point(
                    num_frames=frames,
                    total_tokens=tokens,
                    accuracy=table.at(frames, tokens) if table.covers(frames, tokens) else None,
                    costs=self.predict(frames, tokens),
                    breaks=space.breaks(frames, tokens),
                )
            )
            if points[-1].breaks:
                break
        return tuple(points)

    def _price(self, costs: CostModel) -> Price:
        def price(frames: int, tokens: int) -> tuple[float, float]:
            work = self._work(costs, frames, tokens)
            return costs.seconds(work), costs.shape.peak_bytes(work)

        return price

    def _work(self, costs: CostModel, frames: int, tokens: int) -> Workload:
        return Workload(
            num_frames=frames,
            num_encoded_frames=frames + -frames % self.clip,
            total_tokens=tokens,
            prompt_tokens=costs.shape.prompt_tokens,
            pictures=self._pictures,
        )

    @cached_property
    def _pictures(self) -> Pictures:
        return pictures_of(self.info, self.start, self.end)

    def _around(self, frames: int, tokens: int) -> Iterator[tuple[int, int]]:
        """Frames and tokens of the nearest plans."""
        least, space, prefer = self.budget.min_tokens_per_frame, self.space, self.budget.prefer
        each = tokens // frames
        if self.budget.num_frames is None and prefer == "coverage":
            yield frames + 1, (frames + 1) * least
        elif self.budget.num_frames is None and prefer == "detail":
            few = min(frames, FEWEST_FRAMES)
            yield frames + 1, (frames + 1) * (each if few == FEWEST_FRAMES else least)
            yield few, few * (each + 1)
        elif self.budget.num_frames is None:
            below = max((count for count in self.accuracy.frames if count < frames), default=None)
            above = min((count for count in self.accuracy.frames if count > frames), default=frames + 1)
            for count in (below, above if space.most_tokens(above) else frames + 1):
                if count is not None:
                    yield count, space.most_tokens(count) or count * least
        yield frames, tokens + 1

    def _neighbour(self, choice: Choice, frames: int, tokens: int) -> Neighbour:
        broken = self.space.breaks(frames, tokens)
        costs = self.predict(frames, tokens) if frames <= self.stretch.count else None
        reasons = [self._reason(cap, frames, tokens) for cap in broken]
        if not broken:
            plans = ((frames, tokens), (choice.frames, choice.tokens))
            theirs, ours = (self.accuracy.at(*one) for one in plans)
            were = "were" if all(self.accuracy.covers(*one) for one in plans) else "are taken to be"
            reasons = [f"{theirs:.1%} of answers {were} right, and {ours:.1%} with {choice.frames} frames"]
        return Neighbour(
            num_frames=frames, total_tokens=tokens, costs=costs, breaks=broken, reason=" and ".join(reasons)
        )

    def _reason(self, cap: Cap, frames: int, tokens: int) -> str:
        """What speaks against a plan that passes a cap."""
        seconds, memory = self.space.pay(frames, tokens)
        return {
            "tokens": f"{tokens:,} tokens pass the budget of {self.budget.total_tokens:,}",
            "latency": f"{shown_seconds(seconds)} pass the cap of {self.space.seconds:g} s",
            "memory": f"{shown_bytes(memory)} pass the cap of {self.space.memory_bytes / 1e9:g} GB",
            "video": f"there are no more than {self.stretch.count:,} frames",
        }[cap]

    def _infeasible(self, frames: int) -> BudgetInfeasible:
        """Say which cap a number of frames passes with the least of tokens, and what would do."""
        least, space = self.budget.min_tokens_per_frame, self.space
        tokens = frames * least
        broken = space.breaks(frames, tokens)
        ways = []
        fewer = space.most_frames_of(least, ceiling=frames)
        if fewer:
            ways.append(f"lower --frames to {fewer}")
        if least > 1 and space.fits(frames, frames):
            each = space.largest(1, least, lambda each: (frames, frames * each))
            ways.append(f"lower --min-tokens to {each}")
        seconds, memory = space.pay(frames, tokens)
        enough = {
            "latency": f"--max-latency to {_upwards(seconds)}",
            "memory": f"--max-memory to {shown_bytes(memory).replace(' ', '')}",
        }
        ways.append(f"raise {' and '.join(enough[cap] for cap in broken)}")
        if self.costs is not None and not self.costs.is_calibrated:
            ways[-1] += f" ({NOT_CALIBRATED})"
        frames_said = f"{frames} frame{'s' if frames > 1 else ''} and {tokens} token{'s' if tokens > 1 else ''}"
        return BudgetInfeasible(
            f"the least that is possible is {shown_seconds(seconds)} and {shown_bytes(memory)}, with {frames_said}: "
            + " and ".join(self._reason(cap, frames, tokens) for cap in broken),
            hint=" or ".join(ways),
        )


def shown_seconds(seconds: float) -> str:
    """Show seconds, rounded up: ``"0.4131 s"``."""
    return f"{_upwards(seconds)} s"


def shown_bytes(num_bytes: float) -> str:
    """Show bytes, rounded up: ``"14.77 GB"``."""
    return f"{_upwards(num_bytes / 1e9)} GB" if num_bytes >= 1e9 else f"{_upwards(num_bytes / 1e6)} MB"


def _upwards(value: float) -> str:
    """Round a number up to four digits."""
    rounded = float(f"{value:.4g}")
    if rounded < value:
        rounded = float(f"{rounded + 10.0 ** (math.floor(math.log10(value)) - 3):.4g}")
    return f"{rounded:g}"
