"""Measure workloads on this machine, by stage and from file to first token."""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Protocol

import torch
from torch import Tensor

from vidzip.models.encoding import Progress
from vidzip.models.fitting import Measurement
from vidzip.models.generating import generate_greedily
from vidzip.models.memory import memory_errors
from vidzip.models.model import VideoModel
from vidzip.models.timing import Stopwatch
from vidzip.packing import PackedVideo
from vidzip.planner import Budget, Plan, split_budget
from vidzip.planner.costs import GENERATE, Workload, video_stats
from vidzip.video.decoding import Frames, decode_chunks
from vidzip.video.info import VideoInfo
from vidzip.video.probing import probe
from vidzip.video.synthetic import SyntheticClip, can_encode, write_synthetic_clip

QUESTION = "What is happening in this video?"
"""A question of typical length; its answer is not used."""

_NEW_TOKENS = 4
"""Generated tokens, of which the first ends the prefill."""

_UNCOMPRESSED_FRAMES = 8
"""Frames whose tokens the language model is measured on, at most all of them, as in Video-LLaVA."""

_TOKENS = (16, 64, 136, 272, 544, 1088)
_TOKENS_PER_FRAME = (17, 2, 34, 4, 8)

_MAX_SECONDS = 4.0
_MIN_TASKS = 3
"""Once a task takes longer, larger tasks of its kind are left out, except for the first few."""

ROUNDS = 3
_ROUNDS_SECONDS = 60.0
"""Number of rounds, and the time after which no further round begins."""


class Task(Protocol):
    """A workload to measure."""

    def run(self) -> Measurement:
        """Measure it once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodeTask:
    """Encode and compress random frames.

    Attributes:
        model: the model.
        num_frames: number of frames.
        total_tokens: tokens to keep.
    """

    model: VideoModel
    num_frames: int
    total_tokens: int

    def run(self) -> Measurement:
        """Measure it once."""
        seconds = pack_random(self.model, self.num_frames, self.total_tokens).stage_seconds
        return Measurement(
            workload=workload(self.model, self.num_frames, self.total_tokens),
            stage_seconds={stage: seconds[stage] for stage in ("encode", "compress")},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class AnswerTask:
    """Project and prefill visual tokens, and generate a few tokens.

    Attributes:
        model: the model.
        packed: the visual tokens.
    """

    model: VideoModel
    packed: PackedVideo

    def run(self) -> Measurement:
        """Measure it once."""
        model, packed = self.model, self.packed
        stopwatch = Stopwatch(model.device)
        with memory_errors(f"answering over {packed.num_tokens} visual tokens"):
            with stopwatch.stage("project"), torch.no_grad():
                embeds = model.embed(packed, QUESTION)
            generate_greedily(
                model.network,
                [embeds],
                max_new_tokens=_NEW_TOKENS,
                stop_token_ids=[model.config.text_config.vocab_size],  # no token has it: the answer does not end
                pad_token_id=model.language.pad_token_id,
                stopwatch=stopwatch,
            )
        seconds = stopwatch.seconds
        return Measurement(
            workload=workload(model, packed.num_frames, packed.num_tokens),
            stage_seconds={
                "project": seconds["project"],
                "prefill": seconds["prefill"],
                GENERATE: seconds[GENERATE] / (_NEW_TOKENS - 1),
            },
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodeTask:
    """Decode a file's frames; optionally also run everything from the file to the first token.

    Attributes:
        model: the model.
        info: the video.
        plan: its plan.
        is_end_to_end: whether the time from the file to the first token is measured as well.
    """

    model: VideoModel
    info: VideoInfo
    plan: Plan
    is_end_to_end: bool

    def run(self) -> Measurement:
        """Measure it once."""
        probe(self.info.path)  # fills the index of its frames, as planning does
        stopwatch = Stopwatch(self.model.device)
        with stopwatch.stage("decode"):
            self.decode()
        seconds, total = dict(stopwatch.seconds), None
        if self.is_end_to_end:
            with stopwatch.stage("total"):
                packed = self.model.pack(self.info, self.plan)
                self.model.ask(packed, QUESTION, max_new_tokens=1)
            seconds["preprocess"] = packed.stage_seconds["preprocess"]
            total = stopwatch.seconds["total"]
        work = workload(self.model, self.plan.num_frames, self.plan.total_tokens, self.info)
        return Measurement(workload=work, stage_seconds=seconds, total_seconds=total)

    def decode(self) -> None:
        """Decode the frames as :meth:`VideoModel.pack` does."""
        shape = self.model.preprocessor.shape
        for _ in decode_chunks(
            self.info.path,
            self.plan.timestamps_seconds,
            self.model.batch_frames,
            size=shape.size,
            crop=shape.crop,
            resize=shape.resize,
        ):
            pass


def measure(model: VideoModel, *, quick: bool = False, on_progress: Progress | None = None) -> list[Measurement]:
    """Measure a model on this machine with synthetic frames and clips; return medians of interleaved rounds.

    Args:
        model: the model; nothing else may use it meanwhile.
        quick: measure H.264 only, with smaller frames, and everything once.
        on_progress: called before each measurement.

    Raises:
        OutOfMemory: the device cannot hold even the smallest tasks.
        WriteError: the clips cannot be written.
    """
    show = on_progress or _ignore_progress
    with tempfile.TemporaryDirectory(prefix="vidzip-") as folder:
        tasks = prepare(model, folder, quick=quick, show=show)
        return measure_interleaved(tasks, rounds=1 if quick else ROUNDS, show=show)


def prepare(model: VideoModel, folder: str, *, quick: bool, show: Progress) -> list[Task]:
    """Prepare the tasks of :func:`measure`: write clips, warm up, and leave out what takes too long.

    Args:
        model: the model.
        folder: for the clips; created if needed, and used until measuring ends.
        quick: as in :func:`measure`.
        show: called with the progress.
    """
    os.makedirs(folder, exist_ok=True)
    videos = list(_write(_clips(quick=quick), folder, show))
    kinds: list[Sequence[Task]] = [_encode_tasks(model), _answer_tasks(model), *_decode_tasks(model, videos)]
    tasks: list[Task] = []
    for number, kind in enumerate(kinds):
        show("warm up", number, len(kinds))
        tasks += _warm_up(kind)
    return tasks


def measure_interleaved(
    tasks: Sequence[Task], *, rounds: int, max_seconds: float = _ROUNDS_SECONDS, show: Progress | None = None
) -> list[Measurement]:
    """Measure every task once per round, in a random order; return the medians of each.

    Args:
        tasks: the tasks.
        rounds: maximum number of rounds, 1 or more.
        max_seconds: time after which no further round begins.
        show: called with the progress.
    """
    order, began = random.Random(0), time.monotonic()  # noqa: S311 - not cryptographic
    runs: list[list[Measurement]] = [[] for _ in tasks]
    for turn in range(rounds):
        if turn and time.monotonic() - began > max_seconds:
            break
        for done, place in enumerate(order.sample(range(len(tasks)), len(tasks))):
            (show or _ignore_progress)("measure", turn * len(tasks) + done, rounds * len(tasks))
            runs[place].append(tasks[place].run())
    return [_medians(several) for several in runs]


def workload(model: VideoModel, num_frames: int, total_tokens: int, info: VideoInfo | None = None) -> Workload:
    """Return the workload of :data:`QUESTION`; without a video, the frames are decoded already."""
    return Workload(
        num_frames=num_frames,
        num_encoded_frames=num_frames + -num_frames % model.frames_per_clip,
        total_tokens=total_tokens,
        prompt_tokens=model.family.prompt(QUESTION).num_tokens,
        video=None if info is None else video_stats(info),
    )


def pack_random(model: VideoModel, num_frames: int, total_tokens: int) -> PackedVideo:
    """Pack random frames of the tower's size."""
    plan = Plan(
        video_identity=None,
        budget=Budget(total_tokens=total_tokens, num_frames=num_frames),
        timestamps_seconds=tuple(float(second) for second in range(num_frames)),
        tokens_per_frame=split_budget(total_tokens, num_frames),
        frames_per_clip=model.frames_per_clip,
    )
    frames = Frames(pixels=_random_pixels(model, num_frames), timestamps_seconds=plan.timestamps_seconds)
    return model.pack_frames(frames, plan)


def _random_pixels(model: VideoModel, num_frames: int) -> Tensor:
    side = int(model.config.vision_config.image_size)
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num_frames, 3, side, side), dtype=torch.uint8, generator=generator)


def _encode_tasks(model: VideoModel) -> list[Task]:
    """Return tasks from a part of a tower batch to several batches, in whole clips, smallest first."""
    at_once, clip = model.batch_frames, model.frames_per_clip
    counts = sorted({max(1, round(at_once * part / 16 / clip)) * clip for part in (0, 2, 4, 8, 16, 24, 32)})
    each = (min(tokens, model.tokens_per_frame) for tokens in cycle(_TOKENS_PER_FRAME))
    return [
        EncodeTask(model=model, num_frames=frames, total_tokens=frames * tokens)
        for frames, tokens in zip(counts, each, strict=False)
    ]


def _answer_tasks(model: VideoModel) -> list[Task]:
    """Return tasks from few tokens to those of uncompressed frames, or to the context length, smallest first."""
    room = model.config.text_config.max_position_embeddings - _NEW_TOKENS
    most = min(room - model.family.prompt(QUESTION).num_tokens, _UNCOMPRESSED_FRAMES * model.tokens_per_frame)
    counts = [*(tokens for tokens in _TOKENS if tokens < most), most]
    return [AnswerTask(model=model, packed=pack_random(model, _UNCOMPRESSED_FRAMES, tokens)) for tokens in counts]


def _decode_tasks(model: VideoModel, videos: Sequence[VideoInfo]) -> Iterator[Sequence[Task]]:
    """Yield tasks of decoding few and many frames, then end-to-end ones, smallest first."""
    alone: list[DecodeTask] = []
    whole: list[DecodeTask] = []
    for number, info in enumerate(videos):
        most = info.num_frames or 1
        counts = (2, 8, most // 2) if info.codec == "h264" else (4, most // 2)
        alone += [_decode_task(model, info, frames, is_end_to_end=False) for frames in counts]
        if number % 2 == 0 or info.codec == "h264":
            whole.append(_decode_task(model, info, 4 * (number + 1), is_end_to_end=True))
    for kind in (alone, whole):
        kind.sort(key=lambda opening: opening.plan.num_frames)
        yield kind


def _decode_task(model: VideoModel, info: VideoInfo, num_frames: int, *, is_end_to_end: bool) -> DecodeTask:
    plan = model.plan(info, Budget(total_tokens=max(136, num_frames), num_frames=num_frames))
    return DecodeTask(model=model, info=info, plan=plan, is_end_to_end=is_end_to_end)


def _clips(*, quick: bool) -> Iterator[SyntheticClip]:
    """Yield clips of several sizes, keyframe intervals and bytes per frame; two of each codec but H.264."""
    yield SyntheticClip(codec="h264", width=320, height=240, num_frames=96, keyframe_interval=24, grain=6)
    yield SyntheticClip(codec="h264", width=640, height=360, num_frames=120, keyframe_interval=60, grain=1)
    yield SyntheticClip(
        codec="h264", width=640, height=360, num_frames=96, keyframe_interval=240, grain=10, preset="superfast"
    )
    if quick:
        return
    yield SyntheticClip(
        codec="h264", width=1280, height=720, num_frames=48, keyframe_interval=24, grain=1, preset="superfast"
    )
    for codec in ("hevc", "vp9", "mpeg4"):
        for grain, width, height in ((6, 320, 240), (0.5, 640, 360)):
            yield SyntheticClip(
                codec=codec,
                width=width,
                height=height,
                num_frames=48,
                keyframe_interval=24,
                grain=grain,
                preset="superfast",
            )


def _write(clips: Iterable[SyntheticClip], folder: str, show: Progress) -> Iterator[VideoInfo]:
    """Write the clips whose encoder is available."""
    available = [clip for clip in clips if can_encode(clip.codec)]
    for number, clip in enumerate(available):
        show("write videos", number, len(available))
        path = os.path.join(folder, clip.name)
        write_synthetic_clip(clip, path)
        yield probe(path)


def _warm_up(tasks: Sequence[Task]) -> list[Task]:
    """Measurement each task once to warm up; after one that takes too long, leave out the rest."""
    kept: list[Task] = []
    for task in tasks:
        began = time.monotonic()
        task.run()
        kept.append(task)
        if len(kept) >= _MIN_TASKS and time.monotonic() - began > _MAX_SECONDS:
            break
    return kept


def _medians(runs: Sequence[Measurement]) -> Measurement:
    """Return the medians of several measurements of a workload."""
    totals = [run.total_seconds for run in runs if run.total_seconds is not None]
    return Measurement(
        workload=runs[0].workload,
        stage_seconds={
            stage: statistics.median(run.stage_seconds[stage] for run in runs) for stage in runs[0].stage_seconds
        },
        total_seconds=statistics.median(totals) if totals else None,
    )


def _ignore_progress(_stage: str, _done: int, _total: int) -> None:
    """Report nothing."""
