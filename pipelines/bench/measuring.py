"""Measure all cases: times in interleaved rounds, then memory in a separate round."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from pipelines.bench.medians import Median, median
from pipelines.bench.memory import check_host_memory, peak_bytes
from pipelines.bench.settings import FILE, PUBLISHED_ONE_BATCH, UNCOMPRESSED, Case
from pipelines.bench.variants import MeasuredModel, Pixels, VariantOutput, decode, random_frames
from pipelines.terminal import Progress
from vidzip import VideoModel
from vidzip.errors import BadArgument
from vidzip.models.memory import memory_errors
from vidzip.models.timing import Stopwatch

T = TypeVar("T")

ENCODE_COMPRESS = "encode + compress"
"""Time from preprocessed frames to visual tokens."""

FROM_FRAMES = "first token from frames"
"""Time from decoded frames to the first token of an answer."""

FROM_FILE = "first token from the file"
"""Time from the file to the first token, with the model loaded."""

REFERENCE_DTYPE = "float32"
"""Kept tokens of other precisions are compared with those of this one."""


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """Measurements of a case.

    Attributes:
        case: the case.
        rounds: seconds by name in each round: of the variant's stages, :data:`ENCODE_COMPRESS`, and :data:`FROM_FRAMES` and
            :data:`FROM_FILE` if the variant gives an answer.
        tokens: visual tokens of the language model; None if the variant ends before.
        encode_peak_bytes: peak memory from decoded frames to visual tokens, without weights and frames; None if not
            counted.
        answer_peak_bytes: peak memory from visual tokens to the answer; None likewise.
        changed_share: share of kept tokens, including CLS, whose position float32 does not keep; None if float32 was not
            measured.
    """

    case: Case
    rounds: tuple[Mapping[str, float], ...]
    tokens: int | None = None
    encode_peak_bytes: int | None = None
    answer_peak_bytes: int | None = None
    changed_share: float | None = None

    def seconds(self, name: str) -> list[float]:
        """Return the seconds of a stage or sum in each round; empty if the variant does not have it."""
        return [seconds[name] for seconds in self.rounds if name in seconds]

    def median(self, name: str) -> Median | None:
        """Return the median of :meth:`seconds`; None if the variant does not have it."""
        seconds = self.seconds(name)
        return median(seconds) if seconds else None


def in_rounds(items: Sequence[T], rounds: int) -> Iterator[tuple[int, int, T]]:
    """Yield items in several rounds, each in another random order; round 0 is for warming up.

    Yields:
        The round, the number of items before this one, and the item.
    """
    order = random.Random(0)  # noqa: S311 - not cryptographic
    count = 0
    for number in range(rounds + 1):
        for item in order.sample(list(items), len(items)):
            yield number, count, item
            count += 1


def check_cases(models: Mapping[str, MeasuredModel], cases: Sequence[Case], progress: Progress) -> None:
    """Check that all cases can run: decode every video, and check the host's memory.

    Raises:
        VideoError: a video cannot be decoded.
        BadArgument: a video has too few frames.
        OutOfMemory: the host has too little memory for a published variant.
    """
    for case in cases:
        if case.variant == PUBLISHED_ONE_BATCH:
            model = models[case.dtype].model
            check_host_memory(_published_bytes(model, case.frames), model.device, _title(case))
    plans = {(case.video, case.frames, case.variant == UNCOMPRESSED): case for case in cases if case.video is not None}
    for done, case in enumerate(plans.values()):
        progress("check", done, len(plans))
        model = models[case.dtype].model
        pixels = decode(model, case, Stopwatch(model.device))
        if len(pixels) < case.frames:
            raise BadArgument(
                f"{case.video!r} has {len(pixels)} distinct frames, fewer than {case.frames}", hint="lower --frames"
            )


def _published_bytes(model: VideoModel, frames: int) -> int:
    """Return the size of every layer's attention maps and output."""
    vision, tokens = model.config.vision_config, model.tokens_per_frame
    layer = vision.num_attention_heads * tokens**2 + tokens * vision.hidden_size
    return int(frames * vision.num_hidden_layers * layer * model.dtype.itemsize)


def measure(
    models: Mapping[str, MeasuredModel], cases: Sequence[Case], rounds: int, progress: Progress
) -> list[CaseResult]:
    """Measure all cases: times in rounds, then memory.

    Args:
        models: models by precision.
        cases: the cases of a round.
        rounds: number of rounds, after one to warm up.
        progress: called before each measurement.

    Returns:
        The results, in the order of the cases.

    Raises:
        OutOfMemory: the device cannot hold a case.
        VideoError: a video cannot be decoded.
    """
    frames = random_frames(max(case.frames for case in cases))
    seconds: dict[Case, list[dict[str, float]]] = {case: [] for case in cases}
    kept: dict[Case, Tensor] = {}
    steps = (rounds + 2) * len(cases)
    for number, done, case in in_rounds(cases, rounds):
        progress(f"round {number} of {rounds}" if number else "warm up", done, steps)
        with memory_errors(_title(case)):
            measured, output = _measure_times(models[case.dtype], case, frames)
        if number:
            seconds[case].append(measured)
        elif output.zipped is not None:
            positions = output.zipped.frame_of * models[case.dtype].model.tokens_per_frame + output.zipped.anchor_of
            kept[case] = positions.cpu()
    results = []
    for place, case in enumerate(cases):
        progress("memory", (rounds + 1) * len(cases) + place, steps)
        memory = {} if case.variant == FILE else _measure_memory(models[case.dtype], case, frames)
        results.append(
            CaseResult(case=case, rounds=tuple(seconds[case]), changed_share=_changed_share(case, kept), **memory)
        )
    return results


def _measure_times(model: MeasuredModel, case: Case, frames: Pixels) -> tuple[dict[str, float], VariantOutput]:
    """Run a case once; return seconds by name, and the output."""
    stopwatch = Stopwatch(model.model.device)
    if case.variant == FILE:
        total = model.answer_from_file(case, stopwatch)
        return {**stopwatch.seconds, FROM_FILE: total}, VariantOutput()
    output = model.encode(case, _pixels(model, case, frames, stopwatch), stopwatch)
    if output.tokens is not None and model.question is not None:
        model.answer(output.tokens, stopwatch)
    seconds = dict(stopwatch.seconds)
    seconds[ENCODE_COMPRESS] = seconds["encode"] + seconds.get("compress", 0.0)
    if "prefill" in seconds:
        seconds[FROM_FRAMES] = (
            seconds["preprocess"] + seconds[ENCODE_COMPRESS] + seconds["project"] + seconds["prefill"]
        )
        if "decode" in seconds:
            seconds[FROM_FILE] = seconds["decode"] + seconds[FROM_FRAMES]
    return seconds, output


def _pixels(model: MeasuredModel, case: Case, frames: Pixels, stopwatch: Stopwatch) -> Pixels:
    return frames[: case.frames] if case.video is None else decode(model.model, case, stopwatch)


def _measure_memory(model: MeasuredModel, case: Case, frames: Pixels) -> dict[str, int | None]:
    """Run a case once more; return fields of :class:`CaseResult`."""
    device = model.model.device
    stopwatch = Stopwatch(device)
    pixels = _pixels(model, case, frames, stopwatch)
    output, encode_peak_bytes = peak_bytes(lambda: model.encode(case, pixels, stopwatch), device)
    tokens = output.tokens
    answer_peak_bytes = None
    if tokens is not None and model.question is not None:
        _, answer_peak_bytes = peak_bytes(lambda: model.answer(tokens, stopwatch), device)
    return {
        "tokens": None if tokens is None else len(tokens),
        "encode_peak_bytes": encode_peak_bytes,
        "answer_peak_bytes": answer_peak_bytes,
    }


def _changed_share(case: Case, kept: Mapping[Case, Tensor]) -> float | None:
    reference = kept.get(replace(case, dtype=REFERENCE_DTYPE))
    if case not in kept or reference is None or case.dtype == REFERENCE_DTYPE:
        return None
    return 1 - float(torch.isin(kept[case], reference).double().mean())


def _title(case: Case) -> str:
    return f"variant {case.variant!r} with {case.frames} frames"
