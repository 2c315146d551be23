"""Everything in turn, round after round: seconds first, memory in a round of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from pipelines.bench.figures import Middle, middle
from pipelines.bench.memory import check_room, peak_bytes
from pipelines.bench.settings import FILE, FULL, WHOLE, Case
from pipelines.bench.ways import Looked, Pixels, Subject, decode, random_frames
from pipelines.terminal import Progress
from vidzip import VideoModel
from vidzip.errors import BadArgument
from vidzip.models.memory import memory_errors
from vidzip.models.timing import Stopwatch

T = TypeVar("T")

SHRINK = "encode + compress"
"""From prepared frames to few tokens."""

FROM_FRAMES = "first token from frames"
"""From decoded frames to the first token of an answer."""

FROM_FILE = "first token from the file"
"""The same from the file, with the model loaded."""

REFERENCE = "float32"
"""The precision whose kept tokens others are held against."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of a case.

    Attributes:
        case: it.
        rounds: seconds by name, a round each: those of the stages that the way has, of :data:`SHRINK`, and where there
            are such, of :data:`FROM_FRAMES` and :data:`FROM_FILE`.
        tokens: visual tokens that the language model is given; None where the way ends before.
        look_bytes: the most that was held at once from decoded frames to tokens, weights and frames left out; None
            where that is not counted.
        ask_bytes: the same from tokens to the answer.
        differing: the share of kept tokens, CLS among them, that stand elsewhere than any that float32 keeps; None
            where float32 was not measured.
    """

    case: Case
    rounds: tuple[Mapping[str, float], ...]
    tokens: int | None = None
    look_bytes: int | None = None
    ask_bytes: int | None = None
    differing: float | None = None

    def series(self, name: str) -> list[float]:
        """Seconds of a stage, or of several together, round by round; nothing where the way has no such."""
        return [one[name] for one in self.rounds if name in one]

    def middle(self, name: str) -> Middle | None:
        """Their median."""
        series = self.series(name)
        return middle(series) if series else None


def in_rounds(items: Sequence[T], rounds: int) -> Iterator[tuple[int, int, T]]:
    """Give items round after round, in an order drawn anew each time; round 0 is to warm up.

    Yields:
        The round, how many items came before, and the item.
    """
    order = random.Random(0)  # noqa: S311 # it guards no secret
    count = 0
    for turn in range(rounds + 1):
        for item in order.sample(list(items), len(items)):
            yield turn, count, item
            count += 1


def check_cases(subjects: Mapping[str, Subject], cases: Sequence[Case], show: Progress) -> None:
    """Make sure that all cases can be run, before one is measured: every video is decoded as it will be.

    Raises:
        VideoError: a video cannot be decoded.
        BadArgument: one has too few frames.
        OutOfMemory: the host has no room for what the published way keeps.
    """
    for case in cases:
        if case.way == WHOLE:
            model = subjects[case.dtype].model
            check_room(_kept_bytes(model, case.frames), model.device, f"the way {WHOLE!r} of {case.frames} frames")
    looks = {(case.video, case.frames, case.way == FULL): case for case in cases if case.video is not None}
    for place, case in enumerate(looks.values()):
        show("check", place, len(looks))
        model = subjects[case.dtype].model
        pixels = decode(model, case, Stopwatch(model.device))
        if len(pixels) < case.frames:
            raise BadArgument(
                f"{case.video!r} has {len(pixels)} distinct frames, fewer than {case.frames}", hint="lower --frames"
            )


def _kept_bytes(model: VideoModel, frames: int) -> int:
    """What the published way keeps of so many frames: every layer's maps and output."""
    vision, tokens = model.config.vision_config, model.tokens_per_frame
    layer = vision.num_attention_heads * tokens**2 + tokens * vision.hidden_size
    return int(frames * vision.num_hidden_layers * layer * model.dtype.itemsize)


def measure(subjects: Mapping[str, Subject], cases: Sequence[Case], rounds: int, show: Progress) -> list[Measured]:
    """Measure all cases: seconds in rounds, then memory.

    Args:
        subjects: by precision.
        cases: what is run in each round.
        rounds: how many count; one more goes ahead of them.
        show: told how far it is.

    Returns:
        What was measured of each case, in their order.

    Raises:
        OutOfMemory: the device cannot hold a case.
        VideoError: a video cannot be decoded.
    """
    frames = random_frames(max(case.frames for case in cases))
    seconds: dict[Case, list[dict[str, float]]] = {case: [] for case in cases}
    kept: dict[Case, Tensor] = {}
    steps = (rounds + 2) * len(cases)
    for turn, count, case in in_rounds(cases, rounds):
        show(f"round {turn} of {rounds}" if turn else "warm up", count, steps)
        with memory_errors(_title(case)):
            taken, looked = _run(subjects[case.dtype], case, frames)
        if turn:
            seconds[case].append(taken)
        elif looked.zipped is not None:
            places = looked.zipped.frame_of * looked.zipped.source.shape[1] + looked.zipped.anchor_of
            kept[case] = places.cpu()
    measured = []
    for place, case in enumerate(cases):
        show("memory", (rounds + 1) * len(cases) + place, steps)
        tokens, look_bytes, ask_bytes = None, None, None
        if case.way != FILE:
            tokens, look_bytes, ask_bytes = _weigh(subjects[case.dtype], case, frames)
        measured.append(
            Measured(
                case=case,
                rounds=tuple(seconds[case]),
                tokens=tokens,
                look_bytes=look_bytes,
                ask_bytes=ask_bytes,
                differing=_differing(case, kept),
            )
        )
    return measured


def _run(subject: Subject, case: Case, frames: Pixels) -> tuple[dict[str, float], Looked]:
    """Run a case once: seconds by name, and what looking gave."""
    stopwatch = Stopwatch(subject.model.device)
    if case.way == FILE:
        whole = subject.ask_about_file(case, stopwatch)
        return {**stopwatch.seconds, FROM_FILE: whole}, Looked()
    looked = subject.look(case, _pixels(subject, case, frames, stopwatch), stopwatch)
    if looked.tokens is not None and subject.question is not None:
        subject.ask(looked.tokens, stopwatch)
    seconds = dict(stopwatch.seconds)
    seconds[SHRINK] = seconds["encode"] + seconds.get("compress", 0.0)
    if "prefill" in seconds:
        seconds[FROM_FRAMES] = seconds["preprocess"] + seconds[SHRINK] + seconds["project"] + seconds["prefill"]
        if "decode" in seconds:
            seconds[FROM_FILE] = seconds["decode"] + seconds[FROM_FRAMES]
    return seconds, looked


def _pixels(subject: Subject, case: Case, frames: Pixels, stopwatch: Stopwatch) -> Pixels:
    return frames[: case.frames] if case.video is None else decode(subject.model, case, stopwatch)


def _weigh(subject: Subject, case: Case, frames: Pixels) -> tuple[int | None, int | None, int | None]:
    """Run a case once more: tokens, and the most bytes held at once on the way to them, and on from them."""
    device = subject.model.device
    stopwatch = Stopwatch(device)
    pixels = _pixels(subject, case, frames, stopwatch)
    looked, look_bytes = peak_bytes(lambda: subject.look(case, pixels, stopwatch), device)
    tokens = looked.tokens
    if tokens is None:
        return None, look_bytes, None
    if subject.question is None:
        return len(tokens), look_bytes, None
    _, ask_bytes = peak_bytes(lambda: subject.ask(tokens, stopwatch), device)
    return len(tokens), look_bytes, ask_bytes


def _differing(case: Case, kept: Mapping[Case, Tensor]) -> float | None:
    reference = kept.get(replace(case, dtype=REFERENCE))
    if case not in kept or reference is None or case.dtype == REFERENCE:
        return None
    return 1 - float(torch.isin(kept[case], reference).double().mean())


def _title(case: Case) -> str:
    return f"the way {case.way!r} of {case.frames} frames"
