"""Checks of question sets and their videos, and where sets are available."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import vidzip
from eval.datasets import SETS, CheckReport, OpenedVideo, check, list_videos, parse, subset
from pipelines.terminal import Progress
from pipelines.workers import check_workers
from vidzip.cpus import available_cpus


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """What to check.

    Attributes:
        name: in :data:`eval.datasets.SETS`.
        data: folder, or file, of questions and answers.
        videos: folder of videos.
        subset: the part of the set whose videos are opened, such as ``first1000``; all when None.
        workers: number of videos opened at a time; the number of CPUs when None.
        follow_links: use links to videos outside their folder.

    Raises:
        BadArgument: fewer than 1 worker.
    """

    name: str
    data: str
    videos: str
    subset: str | None = None
    workers: int | None = None
    follow_links: bool = False

    def __post_init__(self) -> None:
        check_workers(self.workers)


def check_data(settings: CheckSettings, progress: Progress) -> CheckReport:
    """Check a question set, and open its videos: each is probed, and its first frame decoded.

    Raises:
        DatasetError: the folders hold no such set or cannot be read, or the subset is unknown.
    """
    parsed = parse(settings.data, settings.name)
    videos = list_videos(
        settings.videos, SETS[settings.name], annotations=settings.data, follow_links=settings.follow_links
    )
    is_broken = bool(parsed.problems or parsed.unanswered)
    samples = subset(parsed.samples, settings.subset, or_fewer=is_broken) if settings.subset is not None else None
    pool = ThreadPoolExecutor(settings.workers or available_cpus())
    try:
        return check(
            parsed,
            videos,
            open_video,
            samples=samples,
            ordered_map=pool.map,
            on_opened=lambda done, total: progress("open videos", done, total),
        )
    finally:
        pool.shutdown(cancel_futures=True)


def open_video(path: str) -> OpenedVideo:
    """Open a video as ``vidzip probe`` does.

    Raises:
        VideoError: it cannot be opened.
    """
    info = vidzip.probe(path)
    return OpenedVideo(container=info.container, duration_seconds=info.duration_seconds, warnings=info.warnings)


def report_to_json(settings: CheckSettings, report: CheckReport) -> dict[str, Any]:
    """Convert a check's result to JSON data."""
    return {
        "schema": "vidzip/data-check/1",
        "ok": report.ok,
        "data": settings.data,
        "videos_folder": settings.videos,
        "subset": settings.subset,
        **asdict(report),
        "num_lost": report.num_lost,
    }


def sets_to_json() -> dict[str, dict[str, Any]]:
    """Convert the published sets to JSON data: sizes, files, and where they are available under which terms."""
    return {
        one.name: {
            "title": one.title,
            "published": asdict(one.published),
            "other_splits": {split: asdict(size) for split, size in one.other_splits.items()},
            "kinds": list(one.kinds),
            "annotations": list(one.annotations),
            "video_files": [f"{one.prefixes[0]}NAME{suffix}" for suffix in one.suffixes],
            "questions": [asdict(source) for source in one.questions],
            "videos": [asdict(source) for source in one.videos],
            "notes": list(one.notes),
        }
        for one in SETS.values()
    }
