"""Tables of stages, ratios and predictions."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence

import torch

from pipelines.bench.comparing import Comparison, describe_comparison
from pipelines.bench.measuring import FROM_FILE, FROM_FRAMES, CaseResult
from pipelines.bench.medians import Median
from pipelines.bench.predicting import Prediction
from pipelines.bench.settings import STAGES, TITLES, VARIANTS, Case
from pipelines.terminal import format_bytes, print_line

PrintTable = Callable[[Sequence[Sequence[str]], Sequence[str]], None]
"""Prints rows and a header."""


def describe_machine(device: torch.device) -> str:
    """Return the device's name and the number of threads, as text."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {platform.machine()}"
    return f"{name}, {torch.get_num_threads()} threads"


def format_milliseconds(seconds: float) -> str:
    """Format seconds as milliseconds with three digits."""
    return f"{format_number(1000 * seconds)} ms"


def format_number(number: float) -> str:
    """Format a number with three digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def format_interval(median: Median) -> str:
    """Format the confidence interval of a median."""
    return "" if median.low is None or median.high is None else f"{median.low:.3f} to {median.high:.3f}"


def print_stages(results: Sequence[CaseResult], print_table: PrintTable) -> None:
    """Print median times of the stages, one row per case; empty columns are left out."""
    names = (*STAGES, FROM_FRAMES, FROM_FILE)
    header = [
        "video", "dtype", "variant", "frames", "tokens", *(TITLES.get(name, name) for name in names),
        "peak, to tokens", "peak, to the answer", "kept tokens changed from float32",
    ]  # fmt: skip
    rows = []
    for result in results:
        case, tokens = result.case, result.tokens or result.case.tokens
        medians = (result.median(name) for name in names)
        rows.append([
            _video_name(case),
            case.dtype,
            case.variant,
            str(case.frames),
            "" if tokens is None else f"{tokens:,}",
            *("" if found is None else format_milliseconds(found.median) for found in medians),
            *("" if peak is None else format_bytes(peak) for peak in (result.encode_peak_bytes, result.answer_peak_bytes)),
            "" if result.changed_share is None else f"{result.changed_share:.1%}",
        ])  # fmt: skip
    _print_filled_columns(rows, header, print_table)


def print_variants(results: Sequence[CaseResult]) -> None:
    """Print a description of each variant."""
    for variant in dict.fromkeys(result.case.variant for result in results):
        print_line(f"{variant}: {VARIANTS[variant]}")


def print_comparisons(comparisons: Sequence[Comparison], print_table: PrintTable) -> None:
    """Print ratios, one per row."""
    rows = []
    for comparison in comparisons:
        title, sizes, dtypes = describe_comparison(comparison)
        ratio = comparison.ratio
        cells = (title, sizes, dtypes, f"{ratio.median:.3f}", format_interval(ratio), str(ratio.count))
        rows.append([_video_name(comparison.case), *cells])
    header = ["video", "ratio", "of", "dtype", "median", "95 % interval", "rounds"]
    _print_filled_columns(rows, header, print_table)


def print_predictions(predictions: Sequence[Prediction], print_table: PrintTable) -> None:
    """Print predicted and measured times, one stage per row."""
    rows = [
        [
            _video_name(prediction.case),
            prediction.case.dtype,
            f"{prediction.case.frames} frames, {prediction.case.tokens} tokens",
            TITLES.get(prediction.name, prediction.name),
            format_milliseconds(prediction.predicted),
            format_milliseconds(prediction.measured),
            f"{prediction.relative_error:+.0%}",
            f"{prediction.error:.0%}",
        ]
        for prediction in predictions
    ]
    header = ["video", "dtype", "of", "stage", "predicted", "measured", "error", "stated error"]
    _print_filled_columns(rows, header, print_table)


def _video_name(case: Case) -> str:
    return "" if case.video is None else os.path.basename(case.video)


def _print_filled_columns(rows: Sequence[Sequence[str]], header: Sequence[str], print_table: PrintTable) -> None:
    filled = [place for place in range(len(header)) if any(row[place] for row in rows)]
    if filled:
        print_table([[row[place] for place in filled] for row in rows], [header[place] for place in filled])
