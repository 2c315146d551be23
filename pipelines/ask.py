"""One video, some questions: from a path to answers and to what is reported of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import vidzip
from pipelines.terminal import Progress
from vidzip import Decoding
from vidzip.errors import DecodeError

if TYPE_CHECKING:
    from vidzip import Answer, Budget, PackedVideo, VideoLlava

DEFAULT_MODEL = "tiny"
BASELINE_FRAMES = 8
"""Frames that Video-LLaVA takes, uncompressed: the baseline of every report."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for: a video, questions, what may be spent, and who answers."""

    video: str
    questions: Sequence[str]
    budget: Budget
    start: float | None = None
    end: float | None = None
    model: str = DEFAULT_MODEL
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    max_new_tokens: int = 64
    snap: bool = False
    decoding: Decoding = field(default_factory=Decoding)


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """One question with its answer, and the packed video and model it came from."""

    request: Request
    question: str
    answer: Answer
    packed: PackedVideo
    model: VideoLlava


def ask(request: Request, progress: Progress) -> Iterator[Answered]:
    """Pack the video once, then answer question by question.

    Raises:
        VidzipError: whatever is wrong with the request; before a model is loaded, where that can be known.
    """
    info = vidzip.probe(request.video)
    if request.decoding.strict and info.warnings:
        raise DecodeError(f"{request.video!r}: {info.warnings[0]}", hint="fetch it again, or go without --strict")
    # A wrong budget or stretch shows before a model is loaded, which may take minutes.
    vidzip.plan(info, request.budget, start=request.start, end=request.end)

    progress(f"load {request.model}", 0, 1)
    model = vidzip.load(request.model, revision=request.revision, device=request.device, dtype=request.dtype)
    planned = vidzip.plan(
        info, request.budget, model.tokens_per_frame, start=request.start, end=request.end, snap=request.snap
    )
    for question in request.questions:
        model.check_question(question, planned.total_tokens, request.max_new_tokens)
    progress("encode", 0, planned.num_frames)
    packed = model.pack(info, planned, decoding=request.decoding, on_progress=progress)
    for number, question in enumerate(request.questions):
        progress("answer", number, len(request.questions))
        answer = model.ask(packed, question, request.max_new_tokens)
        yield Answered(request=request, question=question, answer=answer, packed=packed, model=model)


def record(answered: Answered) -> dict[str, Any]:
    """Report one answer as JSON takes it."""
    packed, answer, request = answered.packed, answered.answer, answered.request
    return {
        "schema": "vidzip/answer/1",
        "question": answered.question,
        "answer": answer.text,
        "finish_reason": answer.finish_reason,
        "frames_requested": request.budget.num_frames,
        "frames": packed.num_frames,
        "visual_tokens": answer.visual_tokens,
        "full_tokens": packed.full_tokens,
        "baseline_tokens": BASELINE_FRAMES * answered.model.tokens_per_frame,
        "tokens_per_frame": list(packed.plan.tokens_per_frame),
        "timestamps_seconds": [round(moment, 6) for moment in packed.timestamps_seconds],
        "stage_seconds": {stage: round(seconds, 6) for stage, seconds in answer.stage_seconds.items()},
        "method": packed.method,
        "model": answered.model.name,
        "video": request.video,
        "warnings": list(answer.warnings),
    }


def summary(all_answered: Sequence[Answered]) -> list[tuple[str, str]]:
    """Report a run in a short table: frames, tokens before and after, and seconds a stage, all questions together."""
    first = all_answered[0]
    packed = first.packed
    seconds = seconds_in_all(packed, [answered.answer for answered in all_answered])
    baseline = BASELINE_FRAMES * first.model.tokens_per_frame
    return [
        ("frames", f"{packed.num_frames}"),
        (
            "tokens",
            f"{packed.full_tokens:,} → {packed.num_tokens:,}   ({BASELINE_FRAMES} full frames take {baseline:,})",
        ),
        *((f"{stage} s", f"{spent:.3f}") for stage, spent in seconds.items()),
    ]


def seconds_in_all(packed: PackedVideo, answers: Sequence[Answer]) -> dict[str, float]:
    """Add up the seconds a stage: those of packing once, those of answering for every question."""
    seconds = dict(packed.stage_seconds)
    for answer in answers:
        for stage, spent in answer.stage_seconds.items():
            if stage not in packed.stage_seconds:
                seconds[stage] = seconds.get(stage, 0.0) + spent
    return seconds
