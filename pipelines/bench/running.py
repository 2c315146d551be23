"""A benchmark run: build the models, measure, print the tables, write the files."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from pipelines.bench.comparing import Comparison, compare
from pipelines.bench.measuring import CaseResult, check_cases, measure
from pipelines.bench.medians import median
from pipelines.bench.models import build_models
from pipelines.bench.plot import plot_stages
from pipelines.bench.predicting import Prediction, costs_of, predict
from pipelines.bench.settings import BenchSettings
from pipelines.bench.tables import (
    PrintTable,
    describe_machine,
    print_comparisons,
    print_predictions,
    print_stages,
    print_variants,
)
from pipelines.bench.variants import MeasuredModel
from pipelines.runs.running import versions
from pipelines.terminal import print_line, progress_bar
from vidzip import probe
from vidzip.files import atomic_file, write_text
from vidzip.planner import NOT_CALIBRATED


def run_bench(
    settings: BenchSettings, device: torch.device, *, out: str | None, plot: str | None, print_table: PrintTable
) -> None:
    """Measure, print the tables, and write the files.

    Raises:
        VidzipError: a case cannot be measured; a video that cannot be decoded is found before measuring.
    """
    for video in settings.videos:
        probe(video)
    with progress_bar() as progress:
        progress(f"build {settings.size}", 0, 1)
        models = build_models(settings, device)
        cases = list(settings.cases({dtype: model.model.batch_frames for dtype, model in models.items()}))
        check_cases(models, cases, progress)
        costs = {dtype: costs_of(model.model) for dtype, model in models.items()}
        results = measure(models, cases, settings.rounds, progress)
    comparisons = list(compare(results))
    predictions = list(predict(results, models, costs))
    model = next(iter(models.values())).model
    print_line(
        f"{model.name} on {describe_machine(device)}; {model.batch_frames} frames per tower batch; medians of "
        f"{settings.rounds} rounds\n"
    )
    print_variants(results)
    print_line()
    print_stages(results, print_table)
    if comparisons:
        print_line("\nratios within a round\n")
        print_comparisons(comparisons, print_table)
    if predictions:
        is_calibrated = all(one.is_calibrated for one in costs.values())
        print_line(f"\npredicted and measured; {'calibrated' if is_calibrated else NOT_CALIBRATED}\n")
        print_predictions(predictions, print_table)
    if out is not None:
        record = {
            **describe_run(settings, models, describe_machine(device)),
            **results_to_json(results, comparisons, predictions),
            "costs": {dtype: asdict(one) for dtype, one in costs.items()},
        }
        write_text(out, json.dumps(record, indent=1) + "\n")
    if plot is not None:
        with atomic_file(plot) as file:
            plot_stages(results, file)


def describe_run(settings: BenchSettings, models: Mapping[str, MeasuredModel], device: str) -> dict[str, Any]:
    """Return command, versions, device, settings and models as JSON values."""
    return {
        "schema": "vidzip/bench/1",
        "command": shlex.join(["vidzip", *sys.argv[1:]]),
        "versions": {**versions(), "python": platform.python_version()},
        "device": device,
        "settings": asdict(settings),
        "models": {
            dtype: {
                "name": one.model.name,
                "batch_frames": one.model.batch_frames,
                "weight_bytes": sum(weight.nbytes for weight in one.model.network.parameters()),
            }
            for dtype, one in models.items()
        },
    }


def results_to_json(
    results: Sequence[CaseResult], comparisons: Sequence[Comparison], predictions: Sequence[Prediction]
) -> dict[str, Any]:
    """Return all measurements, including those of each round, as JSON values."""
    return {
        "cases": [
            {
                **asdict(result.case),
                "visual_tokens": result.tokens,
                "rounds": [dict(seconds) for seconds in result.rounds],
                "median_seconds": {name: asdict(median(result.seconds(name))) for name in result.rounds[0]},
                "peak_bytes": {"to_tokens": result.encode_peak_bytes, "to_the_answer": result.answer_peak_bytes},
                "changed_share": result.changed_share,
            }
            for result in results
        ],
        "ratios": [asdict(comparison) for comparison in comparisons],
        "predictions": [asdict(prediction) for prediction in predictions],
    }
