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
from vidzip.planner import CostModel, Costs, Planner, PlanReport

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

    def planner(self, info: VideoInfo) -> Planner:
        """Return what plans a video.

        Raises:
            BudgetTooSmall, BadArgument: as :func:`vidzip.plan`.
        """
        return Planner(
            info=info,
            budget=self.budget,
            start=self.start,
            end=self.end,
            snap=self.snap,
            frames_per_clip=self.frames_per_clip,
            costs=self.costs,
            method=self.method,
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Plans of a folder's videos.

    Attributes:
        folder: the folder.
        reports: by the video's path.
        failures: errors of videos without a plan, by the video's path.
        others: paths of files that do not have a video's suffix.
        cost_model: what predicted the costs.
    """

    folder: str
    reports: dict[str, PlanReport]
    failures: dict[str, VidzipError]
    others: tuple[str, ...]
    cost_model: CostModel

    @property
    def num_frames(self) -> int:
        """Frames of all plans together."""
        return sum(report.plan.num_frames for report in self.reports.values())

    @property
    def total_tokens(self) -> int:
        """Tokens of all plans together."""
        return sum(report.plan.total_tokens for report in self.reports.values())

    @property
    def seconds(self) -> float:
        """Predicted seconds to the first token of an answer, added up over all videos."""
        return sum(costs.seconds for costs in self._costs)

    @property
    def error(self) -> float:
        """Relative error of ``seconds``, if all predictions are off in the same direction."""
        return sum(costs.error * costs.seconds for costs in self._costs) / self.seconds if self.seconds else 0.0

    @property
    def peak_bytes(self) -> int:
        """The highest predicted peak memory of a plan."""
        return max((costs.peak_bytes for costs in self._costs), default=0)

    @property
    def disk_bytes(self) -> int | None:
        """Predicted size of all packs together; None if the tower's width is unknown."""
        sizes = [self.pack_bytes(report.plan) for report in self.reports.values()]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def pack_bytes(self, plan: Plan) -> int | None:
        """Predicted size of a plan's pack; None if the tower's width is unknown."""
        return self.cost_model.shape.pack_bytes(plan.num_frames, plan.total_tokens)

    @property
    def _costs(self) -> list[Costs]:
        return [report.costs for report in self.reports.values() if report.costs is not None]


def plan_folder(folder: str, wish: Wish, progress: Progress) -> Batch:
    """Plan every video of a folder and of those in it; whatever is wrong with one is its own failure.

    Args:
        folder: where they lie.
        wish: how each is planned.
        progress: called as videos are done.

    Raises:
        BadArgument: there is no video, or nothing predicts.
    """
    reports: dict[str, PlanReport] = {}
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
            reports[path] = wish.planner(vidzip.probe(path)).report()
        except VidzipError as error:
            failures[path] = error
    return Batch(folder=folder, reports=reports, failures=failures, others=tuple(others), cost_model=wish.costs)


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
