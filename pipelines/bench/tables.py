"""What was measured, as people read it: tables of stages, of ratios and of predictions."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence

import torch

from pipelines.bench.comparing import Comparison, described
from pipelines.bench.figures import Middle
from pipelines.bench.measuring import FROM_FILE, FROM_FRAMES, Measured
from pipelines.bench.predicting import Prediction
from pipelines.bench.settings import STAGES, TITLES, WAYS, Case
from pipelines.terminal import format_bytes, print_line

Draw = Callable[[Sequence[Sequence[str]], Sequence[str]], None]
"""What prints rows and a header."""


def machine(device: torch.device) -> str:
    """Say what runs it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {platform.machine()}"
    return f"{name}, {torch.get_num_threads()} threads"


def milliseconds(seconds: float) -> str:
    """Show seconds as milliseconds, to three digits."""
    return f"{short(1000 * seconds)} ms"


def short(number: float) -> str:
    """Show a number to three digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def interval(one: Middle) -> str:
    """Show where a median lies."""
    return "" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"


def print_stages(measured: Sequence[Measured], draw: Draw) -> None:
    """Print medians of every stage, a row a case; columns that no case fills are left out."""
    names = (*STAGES, FROM_FRAMES, FROM_FILE)
    header = [
        "video", "dtype", "way", "frames", "tokens", *(TITLES.get(name, name) for name in names),
        "peak, to tokens", "peak, to the answer", "kept otherwise than in float32",
    ]  # fmt: skip
    rows = []
    for one in measured:
        case, tokens = one.case, one.tokens or one.case.tokens
        middles = (one.middle(name) for name in names)
        rows.append([
            _named(case),
            case.dtype,
            case.way,
            str(case.frames),
            "" if tokens is None else f"{tokens:,}",
            *("" if found is None else milliseconds(found.median) for found in middles),
            *("" if peak is None else format_bytes(peak) for peak in (one.look_bytes, one.ask_bytes)),
            "" if one.differing is None else f"{one.differing:.1%}",
        ])  # fmt: skip
    _draw_filled(rows, header, draw)


def print_ways(measured: Sequence[Measured]) -> None:
    """Say what the ways are."""
    for way in dict.fromkeys(one.case.way for one in measured):
        print_line(f"{way}: {WAYS[way]}")


def print_comparisons(comparisons: Sequence[Comparison], draw: Draw) -> None:
    """Print ratios, a row each."""
    rows = []
    for one in comparisons:
        what, looks, dtypes = described(one)
        rows.append(
            [
                _named(one.case),
                what,
                looks,
                dtypes,
                f"{one.ratio.median:.3f}",
                interval(one.ratio),
                str(one.ratio.count),
            ]
        )
    _draw_filled(rows, ["video", "ratio", "of", "dtype", "median", "95 % interval", "rounds"], draw)


def print_predictions(predictions: Sequence[Prediction], draw: Draw) -> None:
    """Print what was predicted beside what was measured, a row a stage."""
    rows = [
        [
            _named(one.case),
            one.case.dtype,
            f"{one.case.frames} frames, {one.case.tokens} tokens",
            TITLES.get(one.what, one.what),
            milliseconds(one.predicted),
            milliseconds(one.measured),
            f"{one.off:+.0%}",
            f"{one.error:.0%}",
        ]
        for one in predictions
    ]
    header = ["video", "dtype", "of", "stage", "predicted", "measured", "off by", "said to be within"]
    _draw_filled(rows, header, draw)


def _named(case: Case) -> str:
    return "" if case.video is None else os.path.basename(case.video)


def _draw_filled(rows: Sequence[Sequence[str]], header: Sequence[str], draw: Draw) -> None:
    filled = [place for place in range(len(header)) if any(row[place] for row in rows)]
    if filled:
        draw([[row[place] for place in filled] for row in rows], [header[place] for place in filled])
