"""Execute runs of a question set from their settings; what ``vidzip eval``, ``grid`` and ``reproduce-table3`` call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from eval.datasets import Sample
from eval.metrics import Score, exact_match
from eval.statistics import Estimate, QuestionScore, mean_score
from pipelines.runs.answering import Answerer
from pipelines.runs.decode_pool import default_processes
from pipelines.runs.devices import run_on_devices
from pipelines.runs.questions import find_videos, fingerprint, read_questions, take_shard
from pipelines.runs.run_log import Row, open_run_log
from pipelines.runs.running import RunWorkload, describe_frames, describe_model, run
from pipelines.runs.settings import (
    NO_VIDEO,
    UNCOMPRESSED,
    FrameSelection,
    FrameSettings,
    GenerationSettings,
    RunSettings,
)
from pipelines.settings import BASELINE_FRAMES, ModelSettings
from pipelines.terminal import Progress
from vidzip import Budget, VideoModel


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The result of a run.

    Attributes:
        samples: its questions.
        rows: the row of each question that is done, by question id.
    """

    samples: Sequence[Sample]
    rows: Mapping[str, Row]

    @property
    def failures(self) -> dict[str, int]:
        """Number of questions without an answer, by the kind of failure."""
        failures = [self.rows[one.id]["failure"] for one in self.samples if one.id in self.rows]
        return dict(Counter(failure["kind"] for failure in failures if failure is not None))

    @property
    def num_failed(self) -> int:
        """Number of questions without an answer."""
        return sum(self.failures.values())

    @property
    def num_answered(self) -> int:
        """Number of questions with an answer."""
        return sum(one.id in self.rows for one in self.samples) - self.num_failed

    def exact_match(self, *, is_strict: bool) -> Estimate:
        """Return the share of exact matches, with an interval clustered by video.

        Args:
            is_strict: whether a question without an answer counts as wrong, or not at all.
        """
        graded = []
        for sample in self.samples:
            prediction = self.rows[sample.id]["prediction"] if sample.id in self.rows else None
            score = exact_match(prediction, sample.answer)
            if is_strict and prediction is None:
                score = Score(value=0.0)
            graded.append(QuestionScore(question_id=sample.id, video=sample.video, score=score))
        return mean_score(graded)


def execute_runs(
    settings: RunSettings,
    frames: Mapping[str, FrameSelection],
    progress: Progress,
    *,
    retry_failed: bool = False,
    model: VideoModel | None = None,
) -> dict[str, RunResult]:
    """Ask the questions of a set once for each frame selection. Runs that were interrupted resume.

    Args:
        settings: what the runs have in common.
        frames: frame selection by the run's folder.
        progress: called as the runs proceed.
        retry_failed: ask questions that failed before again.
        model: the model of the settings, if it is loaded already.

    Returns:
        The result of each run, by its folder.

    Raises:
        VidzipError, DatasetError: the settings are wrong, before anything is written; or the machine lacks room.
    """
    samples = read_questions(settings.questions)
    shard = take_shard(samples, settings.questions.shard)
    videos = None if all(one == NO_VIDEO for one in frames.values()) else find_videos(settings.questions)
    devices, decoding = settings.devices, settings.decoding
    if model is None:
        model_settings = replace(settings.model, device=devices[0]) if devices else settings.model
        model = model_settings.load(progress)
    resolved = {folder: _resolve(one, model) for folder, one in frames.items()}
    descriptions = {folder: _describe(settings, samples, one, model) for folder, one in resolved.items()}
    workload = RunWorkload(
        samples=shard,
        frames=resolved,
        videos=videos,
        decoding=replace(decoding, workers=2) if decoding.workers is None else decoding,
        processes=settings.processes or default_processes(),
        pack_cache=settings.pack_cache,
    )
    with ExitStack() as stack:
        logs = {
            folder: stack.enter_context(open_run_log(folder, description, retry_failed=retry_failed))
            for folder, description in descriptions.items()
        }
        if len(devices) > 1 and videos is not None:
            del model
            load = partial(_load_answerer, settings.model, settings.generation)
            run_on_devices(devices, workload, load, logs, progress)
        else:
            run(workload, Answerer(model=model, generation=settings.generation), logs, progress)
        return {folder: RunResult(samples=shard, rows=log.rows) for folder, log in logs.items()}


def _load_answerer(model: ModelSettings, generation: GenerationSettings, device: str) -> Answerer:
    return Answerer(model=replace(model, device=device).load(lambda *_: None), generation=generation)


def _resolve(frames: FrameSelection, model: VideoModel) -> FrameSettings | None:
    """Return the settings of a selection; None asks without video."""
    if frames == UNCOMPRESSED:
        budget = Budget(total_tokens=BASELINE_FRAMES * model.tokens_per_frame, num_frames=BASELINE_FRAMES)
        return FrameSettings(budget=budget, policy=model.sampling_policy, method="none")
    return frames if isinstance(frames, FrameSettings) else None


def _describe(
    settings: RunSettings, samples: Sequence[Sample], frames: FrameSettings | None, model: VideoModel
) -> dict[str, Any]:
    """Describe everything that a run's answers depend on."""
    questions = settings.questions
    return {
        "set": questions.name,
        "questions": {"count": len(samples), "fingerprint": fingerprint(samples)},
        "subset": questions.subset,
        "limit": questions.limit,
        "shard": questions.shard,
        **describe_frames(frames),
        **describe_model(model, settings.model.revision),
        "quantize": settings.model.quantize,
        "max_new_tokens": settings.generation.max_new_tokens,
        "batch_questions": settings.generation.batch_questions,
        "decoder": settings.decoding.backend,
        "strict": settings.decoding.strict,
    }
