"""Questions about one video, answered over one prefill, in batches that do not depend on what was answered before."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from eval.datasets import Sample
from pipelines.evaluation.crew import Failure
from vidzip import PackedVideo, Session, VideoLlava, VidzipError
from vidzip.errors import OutOfMemory

Row = dict[str, Any]

_OF_QUESTION = ("prefill", "generate")
"""Stages that each question takes; all others are spent once for a video."""


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """Who answers, and how.

    Attributes:
        model: who.
        max_new_tokens: tokens of an answer, at most.
        batch_questions: questions of a video answered side by side.
    """

    model: VideoLlava
    max_new_tokens: int = 64
    batch_questions: int = 16
    _blind: list[Session] = field(default_factory=list, init=False, repr=False)

    def over(
        self,
        packed: PackedVideo,
        samples: Sequence[Sample],
        done: Container[str],
        seconds: Mapping[str, float] | None = None,
    ) -> Iterator[list[Row]]:
        """Answer a video's questions, batch by batch; those that are done are left out of what is given back.

        Args:
            packed: the video.
            samples: all questions about it, in file order, done or not: they decide what is answered side by side.
            done: ids of those that need no answer.
            seconds: what the video took before, stage by stage.

        Raises:
            OutOfMemory: the device cannot hold a batch.
        """
        session: list[Session] = []

        def ready() -> Session:
            if not session:
                session.append(self.model.session(replace(packed, stage_seconds=seconds or {})))
            return session[0]

        about = {"frames": packed.num_frames, "warnings": list(packed.warnings)}
        yield from self._batches(ready, packed.num_tokens, samples, done, about)

    def blind(self, samples: Sequence[Sample], done: Container[str]) -> Iterator[list[Row]]:
        """Answer questions without their videos, as :meth:`over` does."""

        def ready() -> Session:
            if not self._blind:
                width = self.model.config.text_config.hidden_size
                nothing = torch.zeros(0, width, device=self.model.device, dtype=self.model.dtype)
                self._blind.append(Session(self.model, nothing))
            return self._blind[0]

        yield from self._batches(ready, 0, samples, done, {"frames": 0, "warnings": []})

    def _batches(
        self, ready: Any, visual_tokens: int, samples: Sequence[Sample], done: Container[str], about: Row
    ) -> Iterator[list[Row]]:
        askable: list[Sample] = []
        refused: list[Row] = []
        for sample in samples:
            problem = self._problem(sample, visual_tokens)
            if problem is None:
                askable.append(sample)
            elif sample.id not in done:
                refused.append(failed(sample, problem))
        if refused:
            yield refused
        for first in range(0, len(askable), self.batch_questions):
            batch = askable[first : first + self.batch_questions]
            if all(sample.id in done for sample in batch):
                continue
            answers = ready().ask_many([sample.question for sample in batch], self.max_new_tokens, self.batch_questions)
            yield [
                {
                    **_asked(sample),
                    "prediction": answer.text,
                    "failure": None,
                    "finish_reason": answer.finish_reason,
                    "new_tokens": answer.new_tokens,
                    "visual_tokens": answer.visual_tokens,
                    **about,
                    "seconds": {
                        stage: round(spent, 6) for stage, spent in answer.stage_seconds.items() if stage in _OF_QUESTION
                    },
                    "video_seconds": {
                        stage: round(spent, 6)
                        for stage, spent in answer.stage_seconds.items()
                        if stage not in _OF_QUESTION
                    },
                }
                for sample, answer in zip(batch, answers, strict=True)
                if sample.id not in done
            ]

    def _problem(self, sample: Sample, visual_tokens: int) -> Failure | None:
        """Why a question cannot be put; None where it can."""
        try:
            self.model.check_question(sample.question, visual_tokens, self.max_new_tokens)
        except OutOfMemory:
            raise
        except VidzipError as error:
            return Failure(kind=type(error).__name__, reason=str(error))
        return None


def failed(sample: Sample, failure: Failure) -> Row:
    """The line of a question that has no answer."""
    return {
        **_asked(sample),
        "prediction": None,
        "failure": {"kind": failure.kind, "reason": failure.reason},
    }


def _asked(sample: Sample) -> Row:
    return {
        "id": sample.id,
        "video": sample.video,
        "kind": sample.kind,
        "question": sample.question,
        "answer": sample.answer,
    }
