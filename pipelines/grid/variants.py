"""The variants that a grid compares: each method at each frame count and budget, the baseline, and no video."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.runs.settings import NO_VIDEO, UNCOMPRESSED, FrameSelection, FrameSettings
from pipelines.settings import BASELINE_FRAMES
from vidzip import Budget
from vidzip.compress import METHODS, Method, describe, parse_method
from vidzip.errors import BadArgument

_UNSAFE = re.compile(r"[^\w.=-]+")
"""Characters that the name of a folder should not have."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One run of a grid.

    Attributes:
        method: compression method; None for uncompressed frames and for no video.
        frames: number of frames; 0 for no video.
        budget: visual tokens of all frames; None for uncompressed frames and for no video.
    """

    method: Method | None = None
    frames: int
    budget: int | None = None

    @property
    def key(self) -> str:
        """Name of the run and of its folder."""
        if self.method is None:
            return UNCOMPRESSED if self.frames else NO_VIDEO
        title = _UNSAFE.sub("-", self.title).strip("-")
        return f"{self.frames}-frames-{self.budget}-tokens-{title}"

    @property
    def title(self) -> str:
        """Name of its row in tables, the same for all frame counts."""
        if self.method is None:
            return f"{BASELINE_FRAMES} uncompressed frames" if self.frames else "no video"
        return describe(self.method)

    @property
    def selection(self) -> FrameSelection:
        """Frame selection of its run."""
        if self.method is None or self.budget is None:
            return UNCOMPRESSED if self.frames else NO_VIDEO
        budget = Budget(total_tokens=self.budget, num_frames=self.frames)
        return FrameSettings(budget=budget, method=self.title.partition("(")[0], options=self.method.changed_options())


def read_methods(text: str) -> list[Method]:
    """Read methods and their options: ``all``, or ``visionzip,visionzip:merge=mean,pool:keep_cls=false``.

    Raises:
        BadArgument: an unknown method or option, or a method that is named twice.
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
                raise BadArgument(f"{pair!r} in {spec!r} is not an option", hint="write NAME:KEY=VALUE:KEY=VALUE")
            options[key] = value
        method = parse_method(name, options)
        if method in methods:
            raise BadArgument(f"{describe(method)} is named twice", hint="name it once")
        methods.append(method)
    if not methods:
        raise BadArgument("no method is named", hint=f"give all, or some of {', '.join(METHODS)}")
    return methods


def read_counts(text: str, flag: str) -> list[int]:
    """Read whole numbers of 1 or more; return them in ascending order, without repeats.

    Raises:
        BadArgument: the text has anything else.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise BadArgument(f"{flag} is {text!r}", hint="give numbers of 1 or more, such as 8,17,34")
    return sorted(set(map(int, words)))


def make_variants(methods: Sequence[Method], frames: Sequence[int], budgets: Sequence[int]) -> list[Variant]:
    """Make no video, the baseline, and each method at each frame count and each budget with a token for every frame.

    Raises:
        BadArgument: a budget has too few tokens for all frame counts, or a frame count is too large for all budgets.
    """
    for count, budget in ((min(frames), min(budgets)), (max(frames), max(budgets))):
        if count > budget:
            raise BadArgument(
                f"{budget} tokens cannot hold {count} frames at 1 each", hint="lower --frames or raise --budget"
            )
    compressed = [
        Variant(method=method, frames=count, budget=budget)
        for budget in budgets
        for method in methods
        for count in frames
        if count <= budget
    ]
    return [Variant(frames=0), Variant(frames=BASELINE_FRAMES), *compressed]
