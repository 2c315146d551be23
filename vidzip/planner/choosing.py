"""Which of the plans that a budget allows is the best: frames and tokens, by a preference. Standard library only.

A choice is F frames and T tokens in all, of which every frame gets ``floor(T/F)`` or one more. More frames, and more
tokens, never cost less: that is what the searches here build on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal, get_args

from vidzip.planner.accuracy import Accuracy

Prefer = Literal["balanced", "coverage", "detail"]
Cap = Literal["tokens", "latency", "memory", "video"]

CAPS: tuple[Cap, ...] = get_args(Cap)

FEWEST_FRAMES = 8
"""Frames that a preference for detail looks at before it gives any of them more tokens: as many as Video-LLaVA does."""

Price = Callable[[int, int], tuple[float, float]]
"""From frames and tokens to seconds and to bytes at the peak."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """All plans that are allowed.

    Attributes:
        most_frames: frames that the video has.
        total_tokens: that may be spent.
        seconds: latency that may be spent.
        memory_bytes: memory that may be taken.
        min_tokens: that every frame gets.
        whole_tokens: S, of a frame that is kept whole; more are of no use to it.
        price: of a plan; None where neither latency nor memory is of interest.
    """

    most_frames: float
    total_tokens: float
    seconds: float = math.inf
    memory_bytes: float = math.inf
    min_tokens: int
    whole_tokens: int
    price: Price | None = None
    _paid: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict, repr=False, compare=False)

    def without(self, *caps: Cap) -> Space:
        """The same, some of the caps lifted."""
        return replace(
            self,
            total_tokens=math.inf if "tokens" in caps else self.total_tokens,
            seconds=math.inf if "latency" in caps else self.seconds,
            memory_bytes=math.inf if "memory" in caps else self.memory_bytes,
            most_frames=math.inf if "video" in caps else self.most_frames,
        )

    @property
    def caps(self) -> tuple[Cap, ...]:
        """Those that there are."""
        limits = (self.total_tokens, self.seconds, self.memory_bytes, self.most_frames)
        return tuple(cap for cap, limit in zip(CAPS, limits, strict=True) if limit < math.inf)

    def pay(self, frames: int, tokens: int) -> tuple[float, float]:
        """Seconds and bytes that a plan costs; nothing, where there is no cap on them."""
        if self.price is None or self.seconds == self.memory_bytes == math.inf:
            return 0.0, 0.0
        choice = (frames, tokens)
        paid = self._paid.get(choice)
        if paid is None:
            paid = self._paid[choice] = self.price(frames, tokens)
        return paid

    def breaks(self, frames: int, tokens: int) -> tuple[Cap, ...]:
        """The caps that a plan passes."""
        seconds, memory = self.pay(frames, tokens)
        passed = (
            tokens > self.total_tokens,
            seconds > self.seconds,
            memory > self.memory_bytes,
            frames > self.most_frames,
        )
        return tuple(cap for cap, is_passed in zip(CAPS, passed, strict=True) if is_passed)

    def fits(self, frames: int, tokens: int) -> bool:
        """Whether a plan passes no cap."""
        if frames > self.most_frames or tokens > self.total_tokens:
            return False
        seconds, memory = self.pay(frames, tokens)
        return seconds <= self.seconds and memory <= self.memory_bytes

    def limit_frames(self, tokens_each: int, ceiling: float = math.inf) -> int:
        """Frames that there may be with so many tokens each, were it only for the video and the tokens."""
        most = min(self.most_frames, self.total_tokens // tokens_each, ceiling)
        return int(most) if most < math.inf else 2**31

    def limit_tokens(self, frames: int, ceiling: float = math.inf) -> int:
        """Tokens that so many frames may have, were it not for what they cost."""
        return int(min(self.total_tokens, frames * self.whole_tokens, ceiling))

    def most_tokens(self, frames: int, ceiling: float = math.inf) -> int:
        """The most tokens that so many frames may have; 0 where they may not even have the least."""
        least = frames * self.min_tokens
        most = self.largest(least, self.limit_tokens(frames, ceiling), lambda tokens: (frames, tokens))
        return most if most >= least else 0

    def most_frames_of(self, tokens_each: int, fewest: int = 1, ceiling: float = math.inf) -> int:
        """The most frames that there may be with so many tokens each; fewer than ``fewest`` where those may not be."""
        return self.largest(fewest, self.limit_frames(tokens_each, ceiling), lambda count: (count, count * tokens_each))

    def largest(self, low: int, high: int, plan: Callable[[int], tuple[int, int]], *, near: int | None = None) -> int:
        """The largest number in [low, high] whose plan fits, where all smaller ones fit; ``low - 1`` where none does.

        Args:
            low: the smallest number.
            high: the largest.
            plan: from a number to frames and tokens, which grow with it.
            near: a number that is known to fit, and may well be the one.
        """
        if high < low or self.fits(*plan(high)):
            return max(high, low - 1)
        if near is not None and low < near < high:
            low, high = near, near + 1 if not self.fits(*plan(near + 1)) else high
        elif not self.fits(*plan(low)):
            return low - 1
        for step in count():  # `low` always fits, and `high` never does
            if high - low == 1:
                break
            is_halving = step > 3 and step % 2  # costs that leap may fool every guess
            middle = (low + high) // 2 if is_halving else self._guess(low, high, plan)
            low, high = (middle, high) if self.fits(*plan(middle)) else (low, middle)
        return low

    def _guess(self, low: int, high: int, plan: Callable[[int], tuple[int, int]]) -> int:
        """Guess a number between two of which the first fits: costs grow almost evenly."""
        (seconds, memory), (more_seconds, more_memory) = self.pay(*plan(low)), self.pay(*plan(high))
        share = 1.0
        if more_seconds > self.seconds:
            share = (self.seconds - seconds) / (more_seconds - seconds)
        if more_memory > self.memory_bytes:
            share = min(share, (self.memory_bytes - memory) / (more_memory - memory))
        return min(max(low + int(share * (high - low)), low + 1), high - 1)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A plan among others.

    Attributes:
        frames: F.
        tokens: T, in all.
        binds: the caps that keep the preference from anything better.
    """

    frames: int
    tokens: int
    binds: tuple[Cap, ...]


def worth(prefer: Prefer, accuracy: Accuracy, frames: int, tokens: int) -> tuple[float, ...]:
    """What a preference makes the most of: the first number, then the second, and so on.

    ``"coverage"``: frames, then tokens. ``"detail"``: frames up to :data:`FEWEST_FRAMES`, then tokens that every
    frame gets, then frames, then tokens. ``"balanced"``: accuracy; of equals, counts that were measured or close to
    those, then tokens, then few frames.
    """
    if prefer == "coverage":
        return frames, tokens
    if prefer == "detail":
        return min(frames, FEWEST_FRAMES), tokens // frames, frames, tokens
    return _balance(accuracy.at(frames, tokens), accuracy, frames, tokens)


def _balance(share: float, accuracy: Accuracy, frames: int, tokens: int) -> tuple[float, ...]:
    return share, -accuracy.outside(frames), tokens, -frames


def choose(space: Space, prefer: Prefer, accuracy: Accuracy) -> Choice | None:
    """Choose frames and tokens; None where not even one frame with the least of tokens fits."""
    if not space.fits(1, space.min_tokens):
        return None
    if prefer == "balanced":
        return _balanced(space, accuracy)
    return _coverage(space) if prefer == "coverage" else _detail(space)


def choose_tokens(space: Space, frames: int) -> Choice | None:
    """Choose tokens for a given number of frames; None where not even the least of tokens fits."""
    tokens = space.most_tokens(frames)
    return Choice(frames=frames, tokens=tokens, binds=_against(space, _more(space, frames, tokens))) if tokens else None


def _coverage(space: Space) -> Choice:
    least = space.min_tokens
    frames = space.most_frames_of(least)
    tokens = space.most_tokens(frames)
    better = [(frames + 1, (frames + 1) * least), *_more(space, frames, tokens)]
    return Choice(frames=frames, tokens=tokens, binds=_against(space, better))


def _detail(space: Space) -> Choice:
    least = space.min_tokens
    few = space.most_frames_of(least, ceiling=FEWEST_FRAMES)
    each = space.largest(least, space.limit_tokens(few) // few, lambda tokens: (few, few * tokens))
    frames = few
    better = [] if each == space.whole_tokens else [(few, few * (each + 1))]
    if few < FEWEST_FRAMES:
        better.append((few + 1, (few + 1) * least))
    else:
        frames = space.most_frames_of(each, few)
        better.append((frames + 1, (frames + 1) * each))
    tokens = space.most_tokens(frames)
    return Choice(frames=frames, tokens=tokens, binds=_against(space, [*better, *_more(space, frames, tokens)]))


def _more(space: Space, frames: int, tokens: int) -> list[tuple[int, int]]:
    """The same frames with one token more, where they are not all whole."""
    return [(frames, tokens + 1)] if tokens < frames * space.whole_tokens else []


def _against(space: Space, better: list[tuple[int, int]]) -> tuple[Cap, ...]:
    """The caps that stand against the next better plans, any of which would do."""
    passed = {cap for frames, tokens in better for cap in space.breaks(frames, tokens)}
    return tuple(cap for cap in CAPS if cap in passed)


def _balanced(space: Space, accuracy: Accuracy) -> Choice:
    most = space.most_frames_of(space.min_tokens)
    *_, (frames, tokens) = _improvements(space, accuracy, (), most)
    return Choice(frames=frames, tokens=tokens, binds=_against_accuracy(space, accuracy, frames, tokens, most))


def _against_accuracy(space: Space, accuracy: Accuracy, frames: int, tokens: int, most: int) -> tuple[Cap, ...]:
    """The caps each of which, were it lifted, would let a better plan in; where it takes several, a least set of them."""
    height = worth("balanced", accuracy, frames, tokens)
    more = [space.breaks(*one) for one in _more(space, frames, tokens)]

    def helps(*lifted: Cap) -> bool:
        if any(set(broken) <= set(lifted) for broken in more):
            return True
        freer, least = space.without(*lifted), space.min_tokens
        if lifted == ("tokens",) and not space.fits(most, space.limit_tokens(most)):
            # Frames that cannot pay for the tokens there are have no use for more.
            reach = space.largest(1, most, lambda count: (count, space.limit_tokens(count)))
        else:
            reach = freer.largest(1, freer.limit_frames(least), lambda count: (count, count * least), near=most)
        return any(True for _ in _improvements(freer, accuracy, height, reach))

    alone = tuple(cap for cap in space.caps if helps(cap))
    if alone or not helps(*space.caps):
        return alone
    together = space.caps
    for cap in space.caps:
        fewer = tuple(one for one in together if one != cap)
        together = fewer if helps(*fewer) else together
    return together


def _improvements(space: Space, accuracy: Accuracy, height: tuple[float, ...], most: int) -> Iterator[tuple[int, int]]:
    """Find up to ``most`` frames, and tokens, worth more than a height, each more than the one before.

    Branch and bound over stretches of frame counts. In one that ends at b frames, no plan has more tokens than b frames
    can hold, nor more than a smaller count can pay for; and with so many tokens the most accurate count is the first,
    the last, or one that was measured.
    """
    stretches: list[tuple[int, int, float, bool]] = [(1, most, math.inf, False)]
    while stretches:
        first, last, ceiling, is_halving = stretches.pop()
        if first > last:
            continue
        tokens, counts = space.limit_tokens(last, ceiling), accuracy.turning_points(first, last)
        shares = accuracy.along(tokens, counts)
        bound, peak = max([(_balance(share, accuracy, n, tokens), n) for share, n in zip(shares, counts, strict=True)])
        if bound <= height:
            continue  # nothing better is there
        # The most promising count first; where it disappoints, halves tell what counts can pay for.
        frames = (first + last) // 2 if is_halving else peak
        afforded = space.most_tokens(frames, ceiling)
        value = worth("balanced", accuracy, frames, afforded) if afforded else ()
        if value > height:
            height = value
            yield frames, afforded
        is_bought_out = afforded < space.limit_tokens(frames, ceiling)
        left = (first, frames - 1, ceiling, not is_halving)
        right = (frames + 1, last, afforded if is_bought_out else ceiling, not is_halving)
        stretches += (left, right) if peak > frames else (right, left)
