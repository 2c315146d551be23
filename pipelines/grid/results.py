"""The results of a grid: accuracies, paired differences, and how much of the baseline's gain each variant keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eval.comparing import compare
from eval.results import Run
from eval.scoring import ALL, EXACT_MATCH, Retention, retention, score_questions, summarise
from eval.statistics import Estimate
from pipelines.grid.variants import Variant
from pipelines.runs.settings import NO_VIDEO, UNCOMPRESSED
from pipelines.scoring.loading import load_run


@dataclass(frozen=True, kw_only=True)
class VariantResult:
    """The exact match of one variant; questions without an answer count as wrong.

    Attributes:
        accuracy: over all questions, with a 95 % interval clustered by video.
        by_kind: the same for each kind of question.
        kept: how much it keeps of what the baseline gains over no video; None if either run is missing.
        num_failed: number of questions without an answer.
        seconds: mean seconds of a video, by stage.
    """

    variant: Variant
    accuracy: Estimate
    by_kind: Mapping[str, Estimate]
    kept: Retention | None
    num_failed: int
    seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Accuracy of a variant minus that of a baseline, question by question."""

    variant: Variant
    baseline: Variant
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class GridResult:
    """The results of all variants.

    Attributes:
        variants: the result of each variant, in order.
        at_same_frames: each variant minus the best baseline method with the same frames and budget.
        at_best: each method at its best frame count minus the best baseline at its own, for each budget. The frame
            counts are selected by these same answers, so on other questions both may be lower.
    """

    variants: tuple[VariantResult, ...]
    at_same_frames: tuple[Difference, ...]
    at_best: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """Convert it for JSON."""
        return {
            "schema": "vidzip/grid/1",
            "settings": [
                {
                    "run": one.variant.key,
                    "method": one.variant.title,
                    "frames": one.variant.frames,
                    "budget": one.variant.budget,
                    "accuracy": asdict(one.accuracy),
                    "by_kind": {kind: asdict(estimate) for kind, estimate in one.by_kind.items()},
                    "kept_above_no_video": None if one.kept is None else asdict(one.kept),
                    "failed": one.num_failed,
                    "seconds_a_video": dict(one.seconds),
                }
                for one in self.variants
            ],
            "differences_at_same_frames": [_difference_to_json(one) for one in self.at_same_frames],
            "differences_at_best_frames": [_difference_to_json(one) for one in self.at_best],
        }


def read_results(out: str, variants: Sequence[Variant], baselines: Sequence[str]) -> GridResult:
    """Read and compare a grid's runs.

    Args:
        out: folder of the runs, each in a folder of its variant's key.
        variants: the variants.
        baselines: titles of the methods that the others are compared with.
    """
    runs = {variant.key: load_run(os.path.join(out, variant.key)) for variant in variants}
    results = [_score(variant, runs) for variant in variants]
    accuracy = {one.variant.key: one.accuracy.value or 0.0 for one in results}
    compressed = [variant for variant in variants if variant.method is not None]
    baseline_variants = [one for one in compressed if one.title in baselines]
    others = [one for one in compressed if one.title not in baselines]

    def best(some: Sequence[Variant]) -> Variant:
        return max(some, key=lambda one: accuracy[one.key])

    same_frames, tops = [], []
    for variant in others:
        rivals = [one for one in baseline_variants if (one.frames, one.budget) == (variant.frames, variant.budget)]
        if rivals:
            same_frames.append(_compare(variant, best(rivals), runs))
    for budget in dict.fromkeys(variant.budget for variant in compressed):
        rivals = [one for one in baseline_variants if one.budget == budget]
        for title in dict.fromkeys(one.title for one in others):
            same_method = [one for one in others if (one.title, one.budget) == (title, budget)]
            if rivals and same_method:
                tops.append(_compare(best(same_method), best(rivals), runs))
    return GridResult(variants=tuple(results), at_same_frames=tuple(same_frames), at_best=tuple(tops))


def _score(variant: Variant, runs: Mapping[str, Run]) -> VariantResult:
    run = runs[variant.key]
    measured = {one.group: one for one in summarise(run).scores if one.metric == EXACT_MATCH}
    kept = None
    if variant.frames and UNCOMPRESSED in runs and NO_VIDEO in runs:
        kept = retention(*(score_questions(one)[EXACT_MATCH] for one in (run, runs[UNCOMPRESSED], runs[NO_VIDEO])))
    return VariantResult(
        variant=variant,
        accuracy=measured[ALL].strict,
        by_kind={group: one.strict for group, one in measured.items() if group != ALL},
        kept=kept,
        num_failed=measured[ALL].num_failed,
        seconds=_mean_seconds(run),
    )


def _mean_seconds(run: Run) -> dict[str, float]:
    """Average the seconds of each stage over videos."""
    of_video = {one.video: one.trace["video_seconds"] for one in run.results if one.trace.get("video_seconds")}
    stages = dict.fromkeys(stage for seconds in of_video.values() for stage in seconds)
    return {stage: sum(one.get(stage, 0.0) for one in of_video.values()) / len(of_video) for stage in stages}


def _compare(variant: Variant, baseline: Variant, runs: Mapping[str, Run]) -> Difference:
    comparison = compare(runs[variant.key], runs[baseline.key], EXACT_MATCH, is_strict=True)
    (of_all,) = (one for one in comparison.groups if one.group == ALL)
    return Difference(variant=variant, baseline=baseline, estimate=of_all.difference)


def _difference_to_json(one: Difference) -> dict[str, Any]:
    return {"run": one.variant.key, "baseline": one.baseline.key, "difference": asdict(one.estimate)}
