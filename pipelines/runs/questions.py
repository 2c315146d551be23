"""The questions of a run, and where their videos are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence

from eval.datasets import SETS, Sample, VideoFolder, list_videos, load, subset
from pipelines.runs.settings import QuestionSettings, parse_shard


def read_questions(settings: QuestionSettings) -> list[Sample]:
    """Read the questions of all shards, in file order.

    Raises:
        DatasetError: they cannot be read.
    """
    samples: Sequence[Sample] = load(settings.data, settings.name)
    if settings.subset:
        samples = subset(samples, settings.subset)
    videos = set(list(by_video(samples))[: settings.limit])
    return [sample for sample in samples if sample.video in videos]


def find_videos(settings: QuestionSettings) -> VideoFolder:
    """List the folder of the videos.

    Raises:
        DatasetError: it cannot be read.
    """
    folder = settings.videos
    if folder is None:
        folder = os.path.dirname(settings.data) or os.curdir if os.path.isfile(settings.data) else settings.data
        inside = os.path.join(folder, "videos")
        folder = inside if os.path.isdir(inside) else folder
    return list_videos(folder, SETS[settings.name], annotations=settings.data)


def take_shard(samples: Iterable[Sample], shard: str | None) -> list[Sample]:
    """Select the questions about every Nth video; all of them when the shard is None."""
    part, count = parse_shard(shard or "1/1")
    return [sample for group in list(by_video(samples).values())[part - 1 :: count] for sample in group]


def by_video(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Group questions by video, both in file order."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.video, []).append(sample)
    return groups


def fingerprint(samples: Iterable[Sample]) -> str:
    """Hash questions and answers, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for sample in samples:
        digest.update(json.dumps([sample.id, sample.video, sample.question, sample.answer]).encode() + b"\n")
    return digest.hexdigest()
