"""A run of a question set, as measurement sees it: questions, predictions, and failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class AskedQuestion:
    """A question of a run.

    Attributes:
        question_id: the question's id in the set.
        video: the video that it is about.
        kind: the kind of question, such as ``"what"``; empty if the set has no kinds.
        question: the question's text.
        answer: the correct answer.
    """

    question_id: str
    video: str
    kind: str
    question: str
    answer: str

    def asked(self) -> dict[str, str]:
        """The fields of :class:`AskedQuestion`, by name."""
        return {field.name: getattr(self, field.name) for field in fields(AskedQuestion)}


@dataclass(frozen=True, kw_only=True)
class QuestionResult(AskedQuestion):
    """A question of a run, with its prediction or failure.

    Attributes:
        prediction: the model's answer; None if the question failed.
        failure: why it failed, such as ``"Crashed: the process that decoded it ended"``; empty if it did not.
        trace: other fields of its line in the run's log: frames, visual tokens, plan, seconds.
    """

    prediction: str | None
    failure: str
    trace: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of a question set.

    Attributes:
        name: the run's name in tables.
        settings: everything its answers depend on: set, model, frames, budget, method and more.
        results: the questions that were asked, in the order of the run's log.
        num_questions: questions to be asked; more than there are results if the run is not finished.
    """

    name: str
    settings: Mapping[str, Any]
    results: tuple[QuestionResult, ...]
    num_questions: int
