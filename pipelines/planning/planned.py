"""Plans with what they cost: of one video, and of all in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import vidzip
from pipelines.options import FILE_SUFFIXES
from pipelines.source import Source
from pipelines.terminal import Progress
from vidzip import Budget, Plan, VideoInfo, VidzipError
from vidzip.errors import BadArgument
from vidzip.planner import WHOLE_FRAME_TOKENS, CostModel, Planner, Point

_PACKED = ".vidzip"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How videos are to be planned.

    Attributes:
        budget: what may be spent on each.
        start: seconds; a video's start when None.
        end: seconds; a video's end when None.
        snap: whether frames move to nearby keyframes.
        frames_per_clip: frames that the model's tower encodes together; the model's own when None.
        costs: what predicts; None where costs are of no interest, which they are of a folder.
        method: the compression method.
    """

    budget: Budget
    start: float | None = None
    end: float | None = None
    snap: bool = False
    frames_per_clip: int | None = None
    costs: CostModel | None = None
    method: str = Source.method

    def plan(self, info: VideoInfo) -> Plan:
        """Plan a video.

        Raises:
            As :func:`vidzip.plan`.
        """
        return vidzip.plan(
            info,
            self.budget,
            start=self.start,
            end=self.end,
            snap=self.snap,
            frames_per_clip=self.frames_per_clip,
            costs=self.costs,
            method=self.method,
        )

    def frontier(self, info: VideoInfo, num_frames: int) -> tuple[Point, ...]:
        """The most tokens that frame counts of a video may have, the given one among them."""
        planner = Planner(
            info=info,
            budget=self.budget,
            start=self.start,
            end=self.end,
            whole_tokens=WHOLE_FRAME_TOKENS,
            frames_per_clip=self.frames_per_clip,
            costs=self.costs,
            method=self.method,
        )
        return planner.frontier(num_frames)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Plans of a folder's videos.

    Attributes:
        folder: it.
        plans: by the video's path.
        failures: why there is none, by the video's path.
        others: paths of files that are no videos, by their names.
        costs: what predicted.
    """

    folder: str
    plans: dict[str, Plan]
    failures: dict[str, VidzipError]
    others: tuple[str, ...]
    costs: CostModel

    @property
    def num_frames(self) -> int:
        """Of all plans."""
        return sum(plan.num_frames for plan in self.plans.values())

    @property
    def total_tokens(self) -> int:
        """Of all plans."""
        return sum(plan.total_tokens for plan in self.plans.values())

    @property
    def seconds(self) -> float:
        """To the first token of an answer about each video, one after the other."""
        return sum(plan.costs.seconds for plan in self.plans.values() if plan.costs is not None)

    @property
    def error(self) -> float:
        """How far off the seconds may be, as a share of them, should all predictions be off the same way."""
        off = sum(plan.costs.error * plan.costs.seconds for plan in self.plans.values() if plan.costs is not None)
        return off / self.seconds if self.seconds else 0.0

    @property
    def peak_bytes(self) -> int:
        """Of the plan that takes the most memory."""
        return max((plan.costs.peak_bytes for plan in self.plans.values() if plan.costs is not None), default=0)

    @property
    def disk_bytes(self) -> int | None:
        """What packs of all take; None where the tower's width is not known."""
        total = 0
        for plan in self.plans.values():
            size = self.costs.shape.pack_bytes(plan.num_frames, plan.total_tokens)
            if size is None:
                return None
            total += size
        return total


def plan_folder(folder: str, wish: Wish, progress: Progress) -> Batch:
    """Plan every video of a folder and of those in it; whatever is wrong with one is its own failure.

    Args:
        folder: where they lie.
        wish: how each is planned.
        progress: called as videos are done.

    Raises:
        BadArgument: there is no video, or nothing predicts.
    """
    plans: dict[str, Plan] = {}
    failures: dict[str, VidzipError] = {}
    if wish.costs is None:
        raise BadArgument("a folder's plans are added up by what they cost", hint="give costs with the wish")
    videos, others = _split(folder)
    if not videos:
        raise BadArgument(
            f"{folder!r} holds no video, and {len(others):,} other files" if others else f"{folder!r} holds no video",
            hint=f"give a video, or a folder with files that end in {', '.join(_video_suffixes())}",
        )
    for done, path in enumerate(videos):
        progress("plan", done, len(videos))
        try:
            plans[path] = wish.plan(vidzip.probe(path))
        except VidzipError as error:
            failures[path] = error
    return Batch(folder=folder, plans=plans, failures=failures, others=tuple(others), costs=wish.costs)


def _split(folder: str) -> tuple[list[str], list[str]]:
    """The files of a folder: those that are videos by their names, and others; in order."""
    files = sorted(_files(folder))
    suffixes = _video_suffixes()
    videos = [path for path in files if path.lower().endswith(suffixes)]
    return videos, [path for path in files if not path.lower().endswith(suffixes)]


def _video_suffixes() -> tuple[str, ...]:
    return tuple(suffix for suffix in FILE_SUFFIXES if suffix != _PACKED)


def _files(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise error

    for below, _, names in os.walk(folder, onerror=refuse):
        yield from (os.path.join(below, name) for name in names)
