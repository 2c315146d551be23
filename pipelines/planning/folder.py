"""Plan all videos of a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import vidzip
from pipelines.options import FILE_SUFFIXES
from pipelines.terminal import Progress
from vidzip import VideoInfo, VidzipError
from vidzip.errors import BadArgument
from vidzip.planner import Costs, Planner, PlanReport

_VIDEO_SUFFIXES = tuple(suffix for suffix in FILE_SUFFIXES if suffix != ".vidzip")


@dataclass(frozen=True, kw_only=True)
class FolderPlans:
    """Plans of a folder's videos, with their totals.

    Attributes:
        folder: the folder.
        reports: by the video's path.
        failures: errors of videos without a plan, by the video's path.
        others: paths of files that do not have a video's suffix.
    """

    folder: str
    reports: dict[str, PlanReport]
    failures: dict[str, VidzipError]
    others: tuple[str, ...]

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
        sizes = [report.pack_bytes for report in self.reports.values()]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def _costs(self) -> list[Costs]:
        return [report.costs for report in self.reports.values() if report.costs is not None]


def plan_folder(folder: str, planner_of: Callable[[VideoInfo], Planner], progress: Progress) -> FolderPlans:
    """Plan every video of a folder and its subfolders; an error fails its own video only.

    Args:
        folder: the folder.
        planner_of: from a video to its planner.
        progress: called for each video.

    Raises:
        BadArgument: the folder has no video.
    """
    reports: dict[str, PlanReport] = {}
    failures: dict[str, VidzipError] = {}
    files = sorted(_files(folder))
    videos = [path for path in files if path.lower().endswith(_VIDEO_SUFFIXES)]
    others = tuple(path for path in files if not path.lower().endswith(_VIDEO_SUFFIXES))
    if not videos:
        raise BadArgument(
            f"{folder!r} has no video among {len(files):,} files",
            hint=f"give a video, or a folder with files that end in {', '.join(_VIDEO_SUFFIXES)}",
        )
    for done, path in enumerate(videos):
        progress("plan", done, len(videos))
        try:
            reports[path] = planner_of(vidzip.probe(path)).report()
        except VidzipError as error:
            failures[path] = error
    return FolderPlans(folder=folder, reports=reports, failures=failures, others=others)


def _files(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise error

    for below, _, names in os.walk(folder, onerror=refuse):
        yield from (os.path.join(below, name) for name in names)
