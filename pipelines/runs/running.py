"""Runs over the same questions: each video is decoded and encoded once for all runs that use the same frames."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from typing import Any

import vidzip
from eval.datasets import DatasetError, Sample, VideoFolder
from pipelines.runs.answering import Answerer, failed_row
from pipelines.runs.decode_pool import GRACE_SECONDS, Decode, Decoded, DecodeJob, decode_ahead, decode_job
from pipelines.runs.packs import PackCache
from pipelines.runs.questions import by_video
from pipelines.runs.run_log import Failure, Row, RunLog
from pipelines.runs.settings import FrameSettings
from pipelines.terminal import Progress, format_clock
from vidzip import DecodeOptions, PackedVideo, Plan, VideoModel, VidzipError
from vidzip.compress.counts import split_by_size
from vidzip.errors import BadArgument, OutOfMemory, SystemFault
from vidzip.models.timing import Stopwatch
from vidzip.video.probing import identify


@dataclass(frozen=True, kw_only=True)
class RunWorkload:
    """Questions, and the frame settings of the runs that ask them.

    Attributes:
        samples: the questions, in file order.
        frames: frame settings by run; None asks without video.
        videos: the videos; None if no run needs them.
        decoding: how videos are decoded.
        processes: number of processes that decode.
        pack_cache: folder where packed videos are kept; None keeps none.
        decode: work of a process that decodes.
        grace_seconds: time that it has after its video's time limit, before it is killed.
    """

    samples: Sequence[Sample]
    frames: Mapping[str, FrameSettings | None]
    videos: VideoFolder | None = None
    decoding: DecodeOptions = field(default_factory=DecodeOptions)
    processes: int = 1
    pack_cache: str | None = None
    decode: Decode = decode_job
    grace_seconds: float = GRACE_SECONDS


@dataclass(frozen=True, kw_only=True, eq=False)
class PackResult:
    """A packed video.

    Attributes:
        seconds: time that it took, by stage; empty for one from the cache.
        from_cache: whether it was packed by an earlier run.
    """

    packed: PackedVideo
    seconds: Mapping[str, float]
    from_cache: bool


def identify_model(model: VideoModel) -> dict[str, Any]:
    """Return which model it is: its name, the hub's commit if it came from there, and its tower's hash."""
    return {"model": model.name, "commit": model.commit, "tower": model.tower_fingerprint}


@cache
def versions() -> dict[str, str]:
    """Return the versions that an answer may depend on."""
    return {"vidzip": vidzip.__version__, **{name: version(name) for name in ("torch", "transformers", "av")}}


def run(
    workload: RunWorkload,
    answerer: Answerer,
    logs: Mapping[str, RunLog],
    progress: Progress,
    videos: Iterable[str] | None = None,
) -> None:
    """Ask every question that has no row in a run's log yet. Each gets one, with an answer or a failure.

    Args:
        workload: questions and frame settings.
        answerer: the model.
        logs: the log of each run.
        progress: called after each batch of answers.
        videos: names of the videos to use, taken one by one when there is room; all when None.

    Raises:
        OutOfMemory, WriteError, DiskFull: the machine lacks room; the same runs can resume.
    """
    reporter = ProgressReporter(progress, logs.values(), len(workload.samples) * len(logs))
    origin = {"model": identify_model(answerer.model), "versions": versions()}

    def add(name: str, rows: Iterable[Row], extra: Mapping[str, Any]) -> None:
        logs[name].add([{**row, **origin, **extra} if row["failure"] is None else row for row in rows])
        reporter.report()

    reporter.report()
    for name, frames in workload.frames.items():
        if frames is None:
            for rows in answerer.answer_without_video(workload.samples, logs[name].rows):
                add(name, rows, {})
    samples_of = by_video(workload.samples)
    for video, name, outcome in _pack_all(workload, answerer.model, logs, samples_of if videos is None else videos):
        samples, done = samples_of[video], logs[name].rows
        if isinstance(outcome, Failure):
            add(name, [failed_row(sample, outcome) for sample in samples if sample.id not in done], {})
            continue
        plan = _describe_pack(outcome)
        for rows in answerer.answer(outcome.packed, samples, done, outcome.seconds):
            add(name, rows, {"plan": plan})


Outcome = tuple[str, str, PackResult | Failure]
"""A video, a run, and what the run asks about."""


def _pack_all(
    workload: RunWorkload, model: VideoModel, logs: Mapping[str, RunLog], videos: Iterable[str]
) -> Iterator[Outcome]:
    """Pack videos for every run that lacks answers about them, as they are decoded or found in the cache."""
    samples_of, groups = by_video(workload.samples), _same_frames(workload.frames)
    caches = _open_caches(workload, model)

    def jobs() -> Iterator[DecodeJob | Outcome]:
        for video in videos:
            for group in groups:
                left = {
                    name: frames
                    for name, frames in group.items()
                    if any(sample.id not in logs[name].rows for sample in samples_of[video])
                }
                if left:
                    yield from _find(workload, model, caches, video, left)

    with closing(decode_ahead(jobs(), workload.processes, workload.decode, workload.grace_seconds)) as results:
        for result in results:
            if isinstance(result, Decoded):
                yield from _pack(model, caches, result)
            else:
                yield result


def _open_caches(workload: RunWorkload, model: VideoModel) -> dict[str, PackCache]:
    """Open the cache of each run; packs depend on the tower, and not on the rest of the model."""
    if workload.pack_cache is None:
        return {}
    shared = {
        **describe_model(model, None),
        "model": None,
        "decoder": workload.decoding.backend,
        "strict": workload.decoding.strict,
    }
    return {
        name: PackCache(folder=workload.pack_cache, settings={**describe_frames(frames), **shared})
        for name, frames in workload.frames.items()
    }


def _same_frames(frames: Mapping[str, FrameSettings | None]) -> list[dict[str, FrameSettings]]:
    """Group runs that sample the same frames, whatever tokens they keep of them."""
    groups: dict[Any, dict[str, FrameSettings]] = {}
    for name, one in frames.items():
        if one is not None:
            key: tuple[Any, ...] = (one.policy, one.budget, one.method)
            if one.budget.num_frames is not None and one.method != "none":
                key = (one.policy, replace(one.budget, total_tokens=1))
            groups.setdefault(key, {})[name] = one
    return list(groups.values())


def _find(
    workload: RunWorkload,
    model: VideoModel,
    caches: Mapping[str, PackCache],
    video: str,
    group: Mapping[str, FrameSettings],
) -> Iterator[DecodeJob | Outcome]:
    """Find a video for runs that sample the same frames: its cached packs, and a job for the runs that have none."""
    if workload.videos is None:
        raise ValueError("the runs need videos, and the workload has none")
    try:
        path = workload.videos.find(video)
        identity = identify(path) if caches else ""
        cached = {name: packed for name in group if caches and (packed := caches[name].get(identity))}
    except (DatasetError, VidzipError) as error:
        yield from ((video, name, Failure.of(error)) for name in group)
        return
    for name, packed in cached.items():
        yield video, name, PackResult(packed=packed, seconds={}, from_cache=True)
    left = {name: frames for name, frames in group.items() if name not in cached}
    if left:
        largest = max(left.values(), key=lambda one: one.budget.total_tokens)
        yield DecodeJob(
            key=(video, left),
            path=path,
            budget=largest.budget,
            shape=model.preprocessor.shape,
            max_tokens_per_frame=model.tokens_per_frame,
            frames_per_clip=model.frames_per_clip,
            policy=largest.policy,
            method=largest.method,
            decoding=workload.decoding,
        )


def _pack(model: VideoModel, caches: Mapping[str, PackCache], decoded: Decoded) -> list[Outcome]:
    """Encode decoded frames once, and compress them for each run; an error with this video affects no other."""
    video, group = decoded.job.key
    if isinstance(decoded.outcome, Failure):
        return [(video, name, decoded.outcome) for name in group]
    decoded_plan, frames = decoded.outcome
    stopwatch, features = Stopwatch(model.device), None
    outcomes: list[Outcome] = []
    for name, settings in group.items():
        try:
            features = model.encode(frames, stopwatch) if features is None else features
            packed = model.pack_features(
                features,
                _replan_tokens(decoded_plan, settings.budget.total_tokens, model.tokens_per_frame),
                settings.method,
                timestamps_seconds=frames.timestamps_seconds,
                stage_seconds=stopwatch.seconds,
                **settings.options,
            )
        except (BadArgument, OutOfMemory, SystemFault):
            raise
        except VidzipError as error:
            outcomes.append((video, name, Failure.of(error)))
            continue
        if caches:
            caches[name].put(packed)
        seconds = {"decode": decoded.seconds, **packed.stage_seconds}
        outcomes.append((video, name, PackResult(packed=packed, seconds=seconds, from_cache=False)))
    return outcomes


def _replan_tokens(plan: Plan, total_tokens: int, max_tokens_per_frame: int) -> Plan:
    """Split another number of tokens evenly among the frames of a plan."""
    if total_tokens == plan.budget.total_tokens:
        return plan
    return replace(
        plan,
        budget=replace(plan.budget, total_tokens=total_tokens),
        tokens_per_frame=tuple(split_by_size(total_tokens, [max_tokens_per_frame] * plan.num_frames)),
    )


def describe_frames(frames: FrameSettings | None) -> dict[str, Any]:
    """Describe frame settings for a run's folder."""
    if frames is None:
        return {"no_video": True}
    return {
        "no_video": False,
        "budget": frames.budget.total_tokens,
        "frames": frames.budget.num_frames,
        "policy": frames.policy,
        "method": frames.method,
        "options": dict(frames.options),
    }


def describe_model(model: VideoModel, revision: str | None) -> dict[str, Any]:
    """Describe everything about a model that its answers depend on."""
    return {
        **identify_model(model),
        "revision": revision,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
    }


def _describe_pack(result: PackResult) -> dict[str, Any]:
    """Describe a packed video, so that an answer can be traced back to its frames."""
    packed, plan = result.packed, result.packed.plan
    return {
        "video_identity": plan.video_identity,
        "timestamps_seconds": [round(moment, 6) for moment in packed.timestamps_seconds],
        "tokens_per_frame": list(packed.tokens_per_frame),
        "method": packed.method,
        "from_cache": result.from_cache,
    }


class ProgressReporter:
    """Reports how many questions are done, how many a second, the remaining time, and the number of failures."""

    def __init__(self, progress: Progress, logs: Collection[RunLog], total: int) -> None:
        self._progress, self._logs, self._total = progress, logs, total
        self._start, self._done_before = time.monotonic(), self._count_done()

    def report(self) -> None:
        """Report the current state."""
        done, seconds = self._count_done(), time.monotonic() - self._start
        texts = ["answer"]
        if done > self._done_before and seconds > 1:
            rate = (done - self._done_before) / seconds
            texts.append(f"{rate:.1f}/s, {format_clock((self._total - done) / rate)} left")
        num_failed = sum(log.num_failed for log in self._logs)
        if num_failed:
            texts.append(f"{num_failed} failed")
        self._progress(", ".join(texts), done, self._total)

    def _count_done(self) -> int:
        return sum(len(log.rows) for log in self._logs)
