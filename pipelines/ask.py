"""One video, some questions: to answers and to what is reported of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pipelines.source
from pipelines.source import Opened, Source, open_source
from pipelines.terminal import Progress

if TYPE_CHECKING:
    from vidzip import Answer, PackedVideo, VideoModel

IN_SESSION = ("project", "prefix")
"""Stages that a session spends once for all of its questions."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for: what is looked at, questions, and how long an answer may be."""

    source: Source
    questions: Sequence[str]
    max_new_tokens: int = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """One question with its answer, and what it was asked about."""

    opened: Opened
    question: str
    answer: Answer


def ask(request: Request, progress: Progress) -> list[Answered]:
    """Pack the video once, or read a packed one, then answer the questions: side by side, where there are several.

    Raises:
        VidzipError: whatever is wrong with the request; before a model is loaded, where that can be known.
    """
    questions, most = request.questions, request.max_new_tokens

    def check(model: VideoModel, visual_tokens: int) -> None:
        for question in questions:
            model.check_question(question, visual_tokens, most)

    opened = open_source(request.source, progress, check)
    progress("answer", 0, len(questions))
    if len(questions) == 1:
        answers = [opened.model.ask(opened.packed, questions[0], most)]
    else:
        answers = opened.model.ask_many(opened.packed, questions, most)
    return [
        Answered(opened=opened, question=question, answer=answer)
        for question, answer in zip(questions, answers, strict=True)
    ]


def record(answered: Answered) -> dict[str, Any]:
    """Report one answer as JSON takes it."""
    opened, answer = answered.opened, answered.answer
    return {
        "schema": "vidzip/answer/1",
        "question": answered.question,
        "answer": answer.text,
        "finish_reason": answer.finish_reason,
        **pipelines.source.record(opened),
        "stage_seconds": {stage: round(seconds, 6) for stage, seconds in answer.stage_seconds.items()},
        "method": opened.packed.method,
        "model": opened.model.name,
        "video": opened.source.path,
        "warnings": list(answer.warnings),
    }


def summary(all_answered: Sequence[Answered]) -> list[tuple[str, str]]:
    """Report a run in a short table; a packed video's stages were spent by another run, and are left out."""
    opened = all_answered[0].opened
    seconds = seconds_in_all(opened.packed, [answered.answer for answered in all_answered])
    if opened.source.is_pack:
        seconds = {stage: spent for stage, spent in seconds.items() if stage not in opened.packed.stage_seconds}
    return pipelines.source.summary(opened, seconds)


def seconds_in_all(packed: PackedVideo, answers: Sequence[Answer]) -> dict[str, float]:
    """Add up the seconds a stage: those of packing, and of reading in a session, once; the others for every question."""
    seconds = dict(packed.stage_seconds)
    for answer in answers:
        in_session = IN_SESSION if IN_SESSION[-1] in answer.stage_seconds else ()
        for stage, spent in answer.stage_seconds.items():
            if stage in packed.stage_seconds or stage in in_session:
                seconds[stage] = spent
            else:
                seconds[stage] = seconds.get(stage, 0.0) + spent
    return seconds
