"""Questions about one video, answered over one prompt prefix, in batches that do not depend on earlier answers."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

from eval.datasets import Sample
from pipelines.runs.run_log import Failure, Row
from pipelines.runs.settings import GenerationSettings
from vidzip import PackedVideo, Session, VideoModel, VidzipError
from vidzip.errors import OutOfMemory

_QUESTION_STAGES = ("prefill", "generate")
"""Stages that run for each question; all others run once for a video."""


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """A model, and how it generates answers."""

    model: VideoModel
    generation: GenerationSettings = field(default_factory=GenerationSettings)

    def answer(
        self,
        packed: PackedVideo,
        samples: Sequence[Sample],
        done: Container[str],
        video_seconds: Mapping[str, float] | None = None,
    ) -> Iterator[list[Row]]:
        """Answer the questions about a video, batch by batch.

        Args:
            packed: the video.
            samples: all questions about it, in file order, done or not, so that batches are always the same.
            done: ids of questions that need no answer, and get no row.
            video_seconds: time that the video took before, by stage.

        Yields:
            Rows of a run log.

        Raises:
            OutOfMemory: the device cannot hold a batch.
        """
        session = cache(lambda: self.model.session(replace(packed, stage_seconds=video_seconds or {})))
        video = {"frames": packed.num_frames, "warnings": list(packed.warnings)}
        yield from self._answer(session, packed, samples, done, video)

    def answer_without_video(self, samples: Sequence[Sample], done: Container[str]) -> Iterator[list[Row]]:
        """Answer questions without their videos, as :meth:`answer` does."""
        yield from self._answer(lambda: self._empty_session, None, samples, done, {"frames": 0, "warnings": []})

    @cached_property
    def _empty_session(self) -> Session:
        return self.model.session(None)

    def _answer(
        self,
        session: Callable[[], Session],
        packed: PackedVideo | None,
        samples: Sequence[Sample],
        done: Container[str],
        video: Mapping[str, Any],
    ) -> Iterator[list[Row]]:
        problems = {sample.id: self._check(sample, packed) for sample in samples}
        refused = [failed_row(one, problem) for one in samples if (problem := problems[one.id]) and one.id not in done]
        if refused:
            yield refused
        askable = [sample for sample in samples if problems[sample.id] is None]
        size = self.generation.batch_questions
        for start in range(0, len(askable), size):
            batch = askable[start : start + size]
            if all(sample.id in done for sample in batch):
                continue
            questions = [sample.question for sample in batch]
            answers = session().ask_many(questions, self.generation.max_new_tokens, size)
            yield [
                {
                    **_question_fields(sample),
                    "prediction": answer.text,
                    "failure": None,
                    "finish_reason": answer.finish_reason,
                    "new_tokens": answer.new_tokens,
                    "visual_tokens": answer.visual_tokens,
                    **video,
                    "seconds": _rounded(answer.stage_seconds, is_question=True),
                    "video_seconds": _rounded(answer.stage_seconds, is_question=False),
                }
                for sample, answer in zip(batch, answers, strict=True)
                if sample.id not in done
            ]

    def _check(self, sample: Sample, packed: PackedVideo | None) -> Failure | None:
        """Return why a question cannot be asked; None if it can."""
        try:
            self.model.check_question(sample.question, packed, self.generation.max_new_tokens)
        except OutOfMemory:
            raise
        except VidzipError as error:
            return Failure.of(error)
        return None


def failed_row(sample: Sample, failure: Failure) -> Row:
    """Make the row of a question that has no answer."""
    return {
        **_question_fields(sample),
        "prediction": None,
        "failure": {"kind": failure.kind, "reason": failure.reason},
    }


def _question_fields(sample: Sample) -> Row:
    return {
        "id": sample.id,
        "video": sample.video,
        "kind": sample.kind,
        "question": sample.question,
        "answer": sample.answer,
    }


def _rounded(stage_seconds: Mapping[str, float], *, is_question: bool) -> dict[str, float]:
    """Select the stages of questions, or those of videos."""
    return {
        stage: round(seconds, 6)
        for stage, seconds in stage_seconds.items()
        if (stage in _QUESTION_STAGES) is is_question
    }
