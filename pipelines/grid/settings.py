"""What a grid compares: every method at every frame count and budget, 8 full frames, and no video."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.settings import BASELINE_FRAMES
from vidzip.compress import METHODS, Method, describe, read_method
from vidzip.errors import BadArgument

FULL, BLIND = "full", "blind"

_UNFIT = re.compile(r"[^\w.=-]+")
"""What no folder's name should hold."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A run of the grid.

    Attributes:
        method: how frames are compressed; None for whole frames, and for no video.
        frames: how many; 0 shows nothing.
        budget: visual tokens in all; None for whole frames, and for no video.
    """

    method: Method | None = None
    frames: int
    budget: int | None = None

    @property
    def key(self) -> str:
        """Its name, which is also its folder's."""
        if self.method is None:
            return FULL if self.frames else BLIND
        title = _UNFIT.sub("-", self.title).strip("-")
        return f"{self.frames}-frames-{self.budget}-tokens-{title}"

    @property
    def title(self) -> str:
        """What its row is called, whatever its frame count."""
        if self.method is None:
            return f"{BASELINE_FRAMES} full frames" if self.frames else "no video"
        return describe(self.method)


def read_methods(text: str) -> list[Method]:
    """Read methods and their options: ``all``, or ``visionzip,visionzip:merge=mean,pool:keep_cls=false``.

    Raises:
        BadArgument: an unknown method or option, or one that stands there twice.
    """
    if text.strip() == "all":
        return [kind() for kind in METHODS.values() if kind.takes_any_budget]
    methods: list[Method] = []
    for spec in filter(None, (one.strip() for one in text.split(","))):
        name, *pairs = spec.split(":")
        options = {}
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not (key and equals and value):
                raise BadArgument(f"{pair!r} in {spec!r} is no option", hint="write NAME:KEY=VALUE:KEY=VALUE")
            options[key] = value
        method = read_method(name, options)
        if method in methods:
            raise BadArgument(f"{describe(method)} is named twice", hint="name it once")
        methods.append(method)
    if not methods:
        raise BadArgument("no method is named", hint=f"give all, or some of {', '.join(METHODS)}")
    return methods


def read_counts(text: str, flag: str) -> list[int]:
    """Read whole numbers of 1 or more, ascending, each once.

    Raises:
        BadArgument: anything else.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise BadArgument(f"{flag} is {text!r}", hint="give numbers of 1 or more, such as 8,17,34")
    return sorted(set(map(int, words)))


def settings_of(methods: Sequence[Method], frames: Sequence[int], budgets: Sequence[int]) -> list[Setting]:
    """Every method at every frame count and budget that holds so many at one token each, the baseline and the floor.

    Raises:
        BadArgument: a budget cannot hold the fewest frames, or the most are held by no budget.
    """
    for count, budget in ((min(frames), min(budgets)), (max(frames), max(budgets))):
        if count > budget:
            raise BadArgument(
                f"{budget} tokens cannot hold {count} frames at 1 each", hint="lower --frames or raise --budget"
            )

    def spent() -> Iterator[Setting]:
        for budget in budgets:
            for method in methods:
                for count in frames:
                    if count <= budget:
                        yield Setting(method=method, frames=count, budget=budget)

    return [Setting(frames=0), Setting(frames=BASELINE_FRAMES), *spent()]
