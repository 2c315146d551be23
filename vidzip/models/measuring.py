"""What workloads take on this machine, stage by stage and from file to first token: measured, nothing is fitted here."""

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
from vidzip.models.fitting import Run
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
from vidzip.video.trials import Trial, can_write, write_trial

QUESTION = "What is happening in this video?"
"""Its answers mean nothing here; it is about as long as questions are."""

_NEW_TOKENS = 4
"""Of which the first one ends the prefill."""

_WHOLE_FRAMES = 8
"""Frames whose tokens the language model is measured on: it sees all of them at most, as Video-LLaVA does."""

_TOKENS = (16, 64, 136, 272, 544, 1088)
_TOKENS_A_FRAME = (17, 2, 34, 4, 8)

_MOST_SECONDS = 4.0
_FEWEST = 3
"""Once a measurement takes so long, larger ones of its kind are left out, but for so many."""

ROUNDS = 3
_ENOUGH_SECONDS = 60.0
"""Rounds that every measurement is made in; no further one begins after so long."""


class Attempt(Protocol):
    """Something to measure."""

    def run(self) -> Run:
        """Do it once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Looking:
    """Encoding and compressing, of frames that are decoded already; their pixels are random.

    Attributes:
        model: whose tower looks.
        num_frames: how many frames.
        total_tokens: what they may keep.
    """

    model: VideoModel
    num_frames: int
    total_tokens: int

    def run(self) -> Run:
        """Do it once."""
        seconds = pack_random(self.model, self.num_frames, self.total_tokens).stage_seconds
        return Run(
            work=workload(self.model, self.num_frames, self.total_tokens),
            stage_seconds={stage: seconds[stage] for stage in ("encode", "compress")},
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What the language model does with visual tokens: to the first new token, and a few more.

    Attributes:
        model: who reads.
        packed: the tokens.
    """

    model: VideoModel
    packed: PackedVideo

    def run(self) -> Run:
        """Do it once."""
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
        return Run(
            work=workload(model, packed.num_frames, packed.num_tokens),
            stage_seconds={
                "project": seconds["project"],
                "prefill": seconds["prefill"],
                GENERATE: seconds[GENERATE] / (_NEW_TOKENS - 1),
            },
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Opening:
    """A file: decoding alone; and, where asked for, the whole way from it to the first token.

    Attributes:
        model: who looks.
        info: the video.
        plan: its frames and their tokens.
        is_whole: whether the whole way is measured, too.
    """

    model: VideoModel
    info: VideoInfo
    plan: Plan
    is_whole: bool

    def run(self) -> Run:
        """Do it once."""
        probe(self.info.path)  # as before every plan: where its frames are is known from then on
        stopwatch = Stopwatch(self.model.device)
        with stopwatch.stage("decode"):
            self.decode()
        seconds, total = dict(stopwatch.seconds), None
        if self.is_whole:
            with stopwatch.stage("total"):
                packed = self.model.pack(self.info, self.plan)
                self.model.ask(packed, QUESTION, max_new_tokens=1)
            seconds["preprocess"] = packed.stage_seconds["preprocess"]
            total = stopwatch.seconds["total"]
        work = workload(self.model, self.plan.num_frames, self.plan.total_tokens, self.info)
        return Run(work=work, stage_seconds=seconds, total_seconds=total)

    def decode(self) -> None:
        """Decode as the model's encoder has it done, and nothing else."""
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


def measure(model: VideoModel, *, quick: bool = False, on_progress: Progress | None = None) -> list[Run]:
    """Measure a model on this machine, on frames and videos that are made up, warm and in turns; medians of it.

    Args:
        model: it shall not be used by others meanwhile.
        quick: measure no codec but H.264, on smaller pictures, and everything once.
        on_progress: called as it goes on.

    Raises:
        OutOfMemory: the device cannot hold even little.
        WriteError: the videos cannot be written.
    """
    show = on_progress or _silently
    with tempfile.TemporaryDirectory(prefix="vidzip-") as folder:
        attempts = prepare(model, folder, quick=quick, show=show)
        return take_turns(attempts, rounds=1 if quick else ROUNDS, show=show)


def prepare(model: VideoModel, folder: str, *, quick: bool, show: Progress) -> list[Attempt]:
    """Make everything ready that :func:`measure` measures: written, warm, and not larger than the machine can bear.

    Args:
        model: who is measured.
        folder: for the videos, as long as anything is measured; made, where it is not there.
        quick: likewise.
        show: called as it goes on.
    """
    os.makedirs(folder, exist_ok=True)
    videos = list(_written(_trials(quick=quick), folder, show))
    kinds: list[Sequence[Attempt]] = [_lookings(model), _readings(model), *_openings(model, videos)]
    attempts: list[Attempt] = []
    for number, kind in enumerate(kinds):
        show("warm up", number, len(kinds))
        attempts += _affordable(kind)
    return attempts


def take_turns(
    attempts: Sequence[Attempt], *, rounds: int, enough_seconds: float = _ENOUGH_SECONDS, show: Progress | None = None
) -> list[Run]:
    """Run every attempt once a round, in an order drawn anew each time; the medians of each.

    Args:
        attempts: what to measure.
        rounds: at most, 1 or more.
        enough_seconds: no further round begins after so long.
        show: called as it goes on.
    """
    order, began = random.Random(0), time.monotonic()  # noqa: S311 - an order guards no secret
    runs: list[list[Run]] = [[] for _ in attempts]
    for turn in range(rounds):
        if turn and time.monotonic() - began > enough_seconds:
            break
        for done, place in enumerate(order.sample(range(len(attempts)), len(attempts))):
            (show or _silently)("measure", turn * len(attempts) + done, rounds * len(attempts))
            runs[place].append(attempts[place].run())
    return [_middle(several) for several in runs]


def workload(model: VideoModel, num_frames: int, total_tokens: int, info: VideoInfo | None = None) -> Workload:
    """What is to be done for :data:`QUESTION` about so many frames; decoded already, where there is no video."""
    return Workload(
        num_frames=num_frames,
        num_encoded_frames=num_frames + -num_frames % model.frames_per_clip,
        total_tokens=total_tokens,
        prompt_tokens=model.family.prompt(QUESTION).num_tokens,
        video=None if info is None else video_stats(info),
    )


def pack_random(model: VideoModel, num_frames: int, total_tokens: int) -> PackedVideo:
    """Pack frames of random pixels, in the size that the tower takes."""
    plan = Plan(
        video_identity=None,
        budget=Budget(total_tokens=total_tokens, num_frames=num_frames),
        timestamps_seconds=tuple(float(second) for second in range(num_frames)),
        tokens_per_frame=split_budget(total_tokens, num_frames),
        frames_per_clip=model.frames_per_clip,
    )
    frames = Frames(pixels=_noise(model, num_frames), timestamps_seconds=plan.timestamps_seconds)
    return model.pack_frames(frames, plan)


def _noise(model: VideoModel, num_frames: int) -> Tensor:
    side = int(model.config.vision_config.image_size)
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num_frames, 3, side, side), dtype=torch.uint8, generator=generator)


def _lookings(model: VideoModel) -> list[Attempt]:
    """Parts of a run through the tower, a whole one, and more than one; whole clips, the fewest first."""
    at_once, clip = model.batch_frames, model.frames_per_clip
    counts = sorted({max(1, round(at_once * part / 16 / clip)) * clip for part in (0, 2, 4, 8, 16, 24, 32)})
    each = (min(tokens, model.tokens_per_frame) for tokens in cycle(_TOKENS_A_FRAME))
    return [
        Looking(model=model, num_frames=frames, total_tokens=frames * tokens)
        for frames, tokens in zip(counts, each, strict=False)
    ]


def _readings(model: VideoModel) -> list[Attempt]:
    """From few tokens to those of whole frames, or to what the context holds; the fewest first."""
    room = model.config.text_config.max_position_embeddings - _NEW_TOKENS
    most = min(room - model.family.prompt(QUESTION).num_tokens, _WHOLE_FRAMES * model.tokens_per_frame)
    counts = [*(tokens for tokens in _TOKENS if tokens < most), most]
    return [Reading(model=model, packed=pack_random(model, _WHOLE_FRAMES, tokens)) for tokens in counts]


def _openings(model: VideoModel, videos: Sequence[VideoInfo]) -> Iterator[Sequence[Attempt]]:
    """Decoding alone, of few frames and of many, and the whole way; the fewest frames first."""
    alone: list[Opening] = []
    whole: list[Opening] = []
    for number, info in enumerate(videos):
        most = info.num_frames or 1
        counts = (2, 8, most // 2) if info.codec == "h264" else (4, most // 2)
        alone += [_opening(model, info, frames, is_whole=False) for frames in counts]
        if number % 2 == 0 or info.codec == "h264":
            whole.append(_opening(model, info, 4 * (number + 1), is_whole=True))
    for kind in (alone, whole):
        kind.sort(key=lambda opening: opening.plan.num_frames)
        yield kind


def _opening(model: VideoModel, info: VideoInfo, num_frames: int, *, is_whole: bool) -> Opening:
    plan = model.plan(info, Budget(total_tokens=max(136, num_frames), num_frames=num_frames))
    return Opening(model=model, info=info, plan=plan, is_whole=is_whole)


def _trials(*, quick: bool) -> Iterator[Trial]:
    """Videos of several sizes, keyframe intervals and bytes a frame; of each codec but H.264, two."""
    yield Trial(codec="h264", width=320, height=240, num_frames=96, keyframe_interval=24, grain=6)
    yield Trial(codec="h264", width=640, height=360, num_frames=120, keyframe_interval=60, grain=1)
    yield Trial(codec="h264", width=640, height=360, num_frames=96, keyframe_interval=240, grain=10, preset="superfast")
    if quick:
        return
    yield Trial(codec="h264", width=1280, height=720, num_frames=48, keyframe_interval=24, grain=1, preset="superfast")
    for codec in ("hevc", "vp9", "mpeg4"):
        for grain, width, height in ((6, 320, 240), (0.5, 640, 360)):
            yield Trial(
                codec=codec,
                width=width,
                height=height,
                num_frames=48,
                keyframe_interval=24,
                grain=grain,
                preset="superfast",
            )


def _written(trials: Iterable[Trial], folder: str, show: Progress) -> Iterator[VideoInfo]:
    """Write those of some videos that can be written here."""
    there = [trial for trial in trials if can_write(trial.codec)]
    for number, trial in enumerate(there):
        show("write videos", number, len(there))
        path = os.path.join(folder, trial.name)
        write_trial(trial, path)
        yield probe(path)


def _affordable(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Run each once, to warm up; where that takes long, leave out those that follow."""
    kept: list[Attempt] = []
    for attempt in attempts:
        began = time.monotonic()
        attempt.run()
        kept.append(attempt)
        if len(kept) >= _FEWEST and time.monotonic() - began > _MOST_SECONDS:
            break
    return kept


def _middle(runs: Sequence[Run]) -> Run:
    """The median of each figure of one workload."""
    totals = [run.total_seconds for run in runs if run.total_seconds is not None]
    return Run(
        work=runs[0].work,
        stage_seconds={
            stage: statistics.median(run.stage_seconds[stage] for run in runs) for stage in runs[0].stage_seconds
        },
        total_seconds=statistics.median(totals) if totals else None,
    )


def _silently(_stage: str, _done: int, _total: int) -> None:
    """Show nothing."""
