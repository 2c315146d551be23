"""Answer questions about one video, and report the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pipelines.source
from pipelines.settings import DEFAULT_MODEL
from pipelines.source import PackedSource, VideoSource, open_source
from pipelines.terminal import Progress, print_message

if TYPE_CHECKING:
    from vidzip import Answer, PackedVideo, Plan, VideoModel

SESSION_STAGES = ("project", "prefix")
"""Stages that a session runs once for all of its questions."""

SAMPLE_QUESTION = "What is the color of the star?"
"""A question that :data:`DEFAULT_MODEL` was trained on."""


@dataclass(frozen=True, kw_only=True)
class AskRequest:
    """A video, questions about it, and the limit on the tokens of an answer."""

    source: VideoSource
    questions: Sequence[str]
    max_new_tokens: int = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoAnswer:
    """An answer with its question and video."""

    opened: PackedSource
    question: str
    answer: Answer


def ask(request: AskRequest, progress: Progress) -> list[VideoAnswer]:
    """Pack the video once, or load a packed one, and answer the questions; several are answered in batches.

    Raises:
        VidzipError: the video, a question or a setting is wrong; before a model is loaded if possible.
    """
    questions, max_new_tokens = request.questions, request.max_new_tokens

    def check(model: VideoModel, video: Plan | PackedVideo) -> None:
        for question in questions:
            model.check_question(question, video, max_new_tokens)

    opened = open_source(request.source, progress, check)
    progress("answer", 0, len(questions))
    if len(questions) == 1:
        answers = [opened.model.ask(opened.packed, questions[0], max_new_tokens)]
    else:
        answers = opened.model.ask_many(opened.packed, questions, max_new_tokens)
    return [
        VideoAnswer(opened=opened, question=question, answer=answer)
        for question, answer in zip(questions, answers, strict=True)
    ]


def record(one: VideoAnswer) -> dict[str, Any]:
    """Describe an answer for JSON."""
    opened, answer = one.opened, one.answer
    return {
        "schema": "vidzip/answer/1",
        "question": one.question,
        "answer": answer.text,
        "finish_reason": answer.finish_reason,
        **pipelines.source.record(opened),
        "stage_seconds": {stage: round(seconds, 6) for stage, seconds in answer.stage_seconds.items()},
        "method": opened.packed.method,
        "model": opened.model.name,
        "video": opened.source.path,
        "warnings": list(answer.warnings),
    }


def summary(answers: Sequence[VideoAnswer]) -> list[tuple[str, str]]:
    """Describe a run in table rows; stages that an earlier run spent on a packed video are left out."""
    opened = answers[0].opened
    seconds = total_seconds(opened.packed, [one.answer for one in answers])
    if opened.source.is_pack:
        seconds = {stage: spent for stage, spent in seconds.items() if stage not in opened.packed.stage_seconds}
    return pipelines.source.summary(opened, seconds)


def total_seconds(packed: PackedVideo, answers: Sequence[Answer]) -> dict[str, float]:
    """Add up the seconds of each stage: packing and a session's stages count once, the others for every question."""
    seconds = dict(packed.stage_seconds)
    for answer in answers:
        once = SESSION_STAGES if SESSION_STAGES[-1] in answer.stage_seconds else ()
        for stage, spent in answer.stage_seconds.items():
            if stage in packed.stage_seconds or stage in once:
                seconds[stage] = spent
            else:
                seconds[stage] = seconds.get(stage, 0.0) + spent
    return seconds


def format_answer(answer: Answer) -> str:
    """Format an answer's text; an ellipsis marks one that the length limit cut."""
    return answer.text + ("" if answer.finish_reason == "stop" else " …")


def is_unknown_to_default_model(model: VideoModel, question: str) -> bool:
    """Whether the default model, which knows few words, is asked with words that it does not know."""
    return model.name == DEFAULT_MODEL and bool(model.language.unknown_words(question))


def print_default_model_hint() -> None:
    """Print what the default model can be asked."""
    print_message(
        "hint",
        f"{DEFAULT_MODEL} was trained on videos of coloured shapes, with questions such as {SAMPLE_QUESTION!r}; "
        "give a --model for other videos",
    )
