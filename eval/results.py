"""A run as measurement sees it: what was asked, what was predicted, and why where nothing was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A question of a run, and what became of it.

    Attributes:
        question_id: its name in the set.
        video: the video it is about.
        kind: what kind of question it is, such as ``"what"``; empty where the set names none.
        question: as it was asked.
        answer: the right one.
        prediction: the model's; None where there is none.
        failure: why there is none, such as ``"Crashed: the process that decoded it ended"``; empty where there is one.
        trace: what else the run noted of it: frames, visual tokens, the plan, seconds.
    """

    question_id: str
    video: str
    kind: str
    question: str
    answer: str
    prediction: str | None
    failure: str
    trace: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run, read.

    Attributes:
        name: what tables call it.
        described: what the run is: set, model, frames, budget, method and whatever else its answers depend on.
        questions: those that have a line, in the order of the file.
        num_asked: how many there are to be asked; more than there are lines where the run was not finished.
    """

    name: str
    described: Mapping[str, Any]
    questions: tuple[Answered, ...]
    num_asked: int
