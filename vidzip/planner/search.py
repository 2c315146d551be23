"""Find the best frames and tokens within limits, by a preference. Standard library only.

A choice is F frames and T tokens in all; each frame gets ``floor(T/F)`` tokens or one more. More frames or tokens never
cost less, which the searches rely on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count

from vidzip.planner.accuracy import AccuracyTable
from vidzip.planner.budget import LIMITS, Limit, Preference

DETAIL_FRAMES = 8
"""Frames that a preference for detail uses before any of them gets more tokens: as many as Video-LLaVA uses."""

PredictCosts = Callable[[int, int], tuple[float, float]]
"""From frames and tokens to seconds and peak bytes."""


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The plans within all limits.

    Attributes:
        video_frames: distinct frames of the video.
        total_tokens: the token budget.
        max_seconds: the latency limit.
        max_memory_bytes: the memory limit.
        min_tokens_per_frame: the least that every frame gets.
        max_tokens_per_frame: S, tokens of an uncompressed frame.
        predict_costs: predicts latency and memory; None without a cost model.
    """

    video_frames: float
    total_tokens: float
    max_seconds: float = math.inf
    max_memory_bytes: float = math.inf
    min_tokens_per_frame: int
    max_tokens_per_frame: int
    predict_costs: PredictCosts | None = None
    _predicted: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict, repr=False, compare=False)

    def without(self, *limits: Limit) -> SearchSpace:
        """Return the space without some of its limits."""
        return replace(
            self,
            total_tokens=math.inf if "tokens" in limits else self.total_tokens,
            max_seconds=math.inf if "latency" in limits else self.max_seconds,
            max_memory_bytes=math.inf if "memory" in limits else self.max_memory_bytes,
            video_frames=math.inf if "video" in limits else self.video_frames,
        )

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits that are finite."""
        values = (self.total_tokens, self.max_seconds, self.max_memory_bytes, self.video_frames)
        return tuple(limit for limit, value in zip(LIMITS, values, strict=True) if value < math.inf)

    def predict(self, frames: int, tokens: int) -> tuple[float, float]:
        """Predict seconds and peak bytes; zeros if neither is limited."""
        if self.predict_costs is None or self.max_seconds == self.max_memory_bytes == math.inf:
            return 0.0, 0.0
        key = (frames, tokens)
        costs = self._predicted.get(key)
        if costs is None:
            costs = self._predicted[key] = self.predict_costs(frames, tokens)
        return costs

    def exceeded(self, frames: int, tokens: int) -> tuple[Limit, ...]:
        """Return the limits that a plan exceeds."""
        seconds, memory = self.predict(frames, tokens)
        exceeds = (
            tokens > self.total_tokens,
            seconds > self.max_seconds,
            memory > self.max_memory_bytes,
            frames > self.video_frames,
        )
        return tuple(limit for limit, is_exceeded in zip(LIMITS, exceeds, strict=True) if is_exceeded)

    def allows(self, frames: int, tokens: int) -> bool:
        """Whether a plan exceeds no limit."""
        if frames > self.video_frames or tokens > self.total_tokens:
            return False
        seconds, memory = self.predict(frames, tokens)
        return seconds <= self.max_seconds and memory <= self.max_memory_bytes

    def frames_bound(self, tokens_per_frame: int, at_most: float = math.inf) -> int:
        """Bound the frames of so many tokens each by the video and the token budget; costs are ignored."""
        bound = min(self.video_frames, self.total_tokens // tokens_per_frame, at_most)
        return int(bound) if bound < math.inf else 2**31

    def tokens_bound(self, frames: int, at_most: float = math.inf) -> int:
        """Bound the tokens of so many frames by the token budget and the frames' size; costs are ignored."""
        return int(min(self.total_tokens, frames * self.max_tokens_per_frame, at_most))

    def max_tokens(self, frames: int, at_most: float = math.inf) -> int:
        """Return the most tokens that so many frames may have; 0 if even the fewest exceed a limit."""
        fewest = frames * self.min_tokens_per_frame
        most = self.largest(fewest, self.tokens_bound(frames, at_most), lambda tokens: (frames, tokens))
        return most if most >= fewest else 0

    def max_frames(self, tokens_per_frame: int, at_least: int = 1, at_most: float = math.inf) -> int:
        """Return the most frames of so many tokens each; less than ``at_least`` if those exceed a limit."""
        bound = self.frames_bound(tokens_per_frame, at_most)
        return self.largest(at_least, bound, lambda frames: (frames, frames * tokens_per_frame))

    def largest(self, low: int, high: int, plan: Callable[[int], tuple[int, int]], *, near: int | None = None) -> int:
        """Return the largest number in [low, high] whose plan is allowed; ``low - 1`` if there is none.

        Args:
            low: the smallest number.
            high: the largest number.
            plan: from a number to frames and tokens, which grow with it. Below an allowed plan, all are allowed.
            near: a number that is known to be allowed, and likely to be the largest.
        """
        if high < low or self.allows(*plan(high)):
            return max(high, low - 1)
        if near is not None and low < near < high:
            low, high = near, near + 1 if not self.allows(*plan(near + 1)) else high
        elif not self.allows(*plan(low)):
            return low - 1
        for step in count():  # `low` is always allowed, `high` never is
            if high - low == 1:
                break
            is_bisection = step > 3 and step % 2  # interpolation may converge slowly where costs jump
            middle = (low + high) // 2 if is_bisection else self._interpolate(low, high, plan)
            low, high = (middle, high) if self.allows(*plan(middle)) else (low, middle)
        return low

    def _interpolate(self, low: int, high: int, plan: Callable[[int], tuple[int, int]]) -> int:
        """Guess a number between an allowed one and one that is not: costs grow almost linearly."""
        (seconds, memory), (more_seconds, more_memory) = self.predict(*plan(low)), self.predict(*plan(high))
        position = 1.0
        if more_seconds > self.max_seconds:
            position = (self.max_seconds - seconds) / (more_seconds - seconds)
        if more_memory > self.max_memory_bytes:
            position = min(position, (self.max_memory_bytes - memory) / (more_memory - memory))
        return min(max(low + int(position * (high - low)), low + 1), high - 1)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Chosen frames and tokens.

    Attributes:
        frames: F.
        tokens: T, in all.
        binding_constraints: the limits that rule out better choices.
    """

    frames: int
    tokens: int
    binding_constraints: tuple[Limit, ...]


def preference_key(prefer: Preference, accuracy: AccuracyTable, frames: int, tokens: int) -> tuple[float, ...]:
    """Return a sort key: the higher, the better.

    ``"coverage"``: frames, then tokens. ``"detail"``: frames up to :data:`DETAIL_FRAMES`, then tokens that every frame
    gets, then frames, then tokens. ``"balanced"``: accuracy; if equal, measured frame counts or those close to them,
    then tokens, then few frames.
    """
    if prefer == "coverage":
        return frames, tokens
    if prefer == "detail":
        return min(frames, DETAIL_FRAMES), tokens // frames, frames, tokens
    return _balanced_key(accuracy.at(frames, tokens), accuracy, frames, tokens)


def _balanced_key(value: float, accuracy: AccuracyTable, frames: int, tokens: int) -> tuple[float, ...]:
    return value, -accuracy.frames_outside(frames), tokens, -frames


def choose(space: SearchSpace, prefer: Preference, accuracy: AccuracyTable) -> Choice | None:
    """Choose frames and tokens; None if even one frame with the fewest tokens exceeds a limit."""
    if not space.allows(1, space.min_tokens_per_frame):
        return None
    if prefer == "balanced":
        return _choose_balanced(space, accuracy)
    return _choose_coverage(space) if prefer == "coverage" else _choose_detail(space)


def choose_tokens(space: SearchSpace, frames: int) -> Choice | None:
    """Choose tokens for a given number of frames; None if even the fewest exceed a limit."""
    tokens = space.max_tokens(frames)
    if not tokens:
        return None
    binding = _exceeded_by_any(space, _one_token_more(space, frames, tokens))
    return Choice(frames=frames, tokens=tokens, binding_constraints=binding)


def _choose_coverage(space: SearchSpace) -> Choice:
    fewest = space.min_tokens_per_frame
    frames = space.max_frames(fewest)
    tokens = space.max_tokens(frames)
    better = [(frames + 1, (frames + 1) * fewest), *_one_token_more(space, frames, tokens)]
    return Choice(frames=frames, tokens=tokens, binding_constraints=_exceeded_by_any(space, better))


def _choose_detail(space: SearchSpace) -> Choice:
    fewest = space.min_tokens_per_frame
    few = space.max_frames(fewest, at_most=DETAIL_FRAMES)
    each = space.largest(fewest, space.tokens_bound(few) // few, lambda tokens: (few, few * tokens))
    frames = few
    better = [] if each == space.max_tokens_per_frame else [(few, few * (each + 1))]
    if few < DETAIL_FRAMES:
        better.append((few + 1, (few + 1) * fewest))
    else:
        frames = space.max_frames(each, at_least=few)
        better.append((frames + 1, (frames + 1) * each))
    tokens = space.max_tokens(frames)
    better += _one_token_more(space, frames, tokens)
    return Choice(frames=frames, tokens=tokens, binding_constraints=_exceeded_by_any(space, better))


def _one_token_more(space: SearchSpace, frames: int, tokens: int) -> list[tuple[int, int]]:
    """The same frames with one token more, if they can hold it."""
    return [(frames, tokens + 1)] if tokens < frames * space.max_tokens_per_frame else []


def _exceeded_by_any(space: SearchSpace, plans: list[tuple[int, int]]) -> tuple[Limit, ...]:
    """The limits that at least one of some plans exceeds."""
    exceeded = {limit for frames, tokens in plans for limit in space.exceeded(frames, tokens)}
    return tuple(limit for limit in LIMITS if limit in exceeded)


def _choose_balanced(space: SearchSpace, accuracy: AccuracyTable) -> Choice:
    most = space.max_frames(space.min_tokens_per_frame)
    *_, (frames, tokens) = _improvements(space, accuracy, (), most)
    binding = _balanced_constraints(space, accuracy, frames, tokens, most)
    return Choice(frames=frames, tokens=tokens, binding_constraints=binding)


def _balanced_constraints(
    space: SearchSpace, accuracy: AccuracyTable, frames: int, tokens: int, most: int
) -> tuple[Limit, ...]:
    """The limits each of which alone, if removed, allows a better plan; if none does, a smallest set that does."""
    key = preference_key("balanced", accuracy, frames, tokens)
    more = [space.exceeded(*one) for one in _one_token_more(space, frames, tokens)]

    def helps(*removed: Limit) -> bool:
        if any(set(exceeded) <= set(removed) for exceeded in more):
            return True
        freer, fewest = space.without(*removed), space.min_tokens_per_frame
        if removed == ("tokens",) and not space.allows(most, space.tokens_bound(most)):
            # Frame counts that cannot spend the token budget gain nothing from a larger one.
            bound = space.largest(1, most, lambda count: (count, space.tokens_bound(count)))
        else:
            bound = freer.largest(1, freer.frames_bound(fewest), lambda count: (count, count * fewest), near=most)
        return any(True for _ in _improvements(freer, accuracy, key, bound))

    alone = tuple(limit for limit in space.limits if helps(limit))
    if alone or not helps(*space.limits):
        return alone
    together = space.limits
    for limit in space.limits:
        fewer = tuple(one for one in together if one != limit)
        together = fewer if helps(*fewer) else together
    return together


def _improvements(
    space: SearchSpace, accuracy: AccuracyTable, key: tuple[float, ...], most: int
) -> Iterator[tuple[int, int]]:
    """Yield plans of up to ``most`` frames whose keys are above a key and ascend.

    Branch and bound over ranges of frame counts. In a range that ends at b frames, no plan has more tokens than b frames
    can hold, nor more than a smaller count may have; and with so many tokens the most accurate count is a breakpoint of
    the accuracy table or an end of the range.
    """
    ranges: list[tuple[int, int, float, bool]] = [(1, most, math.inf, False)]
    while ranges:
        first, last, at_most, is_bisection = ranges.pop()
        if first > last:
            continue
        tokens, counts = space.tokens_bound(last, at_most), accuracy.breakpoints(first, last)
        values = accuracy.at_frames(tokens, counts)
        keys = [(_balanced_key(value, accuracy, n, tokens), n) for value, n in zip(values, counts, strict=True)]
        bound, peak = max(keys)
        if bound <= key:
            continue
        # Try the most promising count first; if it disappoints, bisect, which bounds the tokens of larger counts.
        frames = (first + last) // 2 if is_bisection else peak
        afforded = space.max_tokens(frames, at_most)
        found = preference_key("balanced", accuracy, frames, afforded) if afforded else ()
        if found > key:
            key = found
            yield frames, afforded
        is_limited = afforded < space.tokens_bound(frames, at_most)
        left = (first, frames - 1, at_most, not is_bisection)
        right = (frames + 1, last, afforded if is_limited else at_most, not is_bisection)
        ranges += (left, right) if peak > frames else (right, left)
