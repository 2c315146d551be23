"""A plot of a grid: accuracy over frames, one line for each method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from pipelines.grid.results import GridResult, VariantResult

_MARKERS = "osD^vP*X<>hd"
_LINE_STYLES = ("-", "--", ":")
"""Line styles that tell methods apart when there are more of them than colours."""

_NUM_COLOURS = 10
_MAX_COLUMNS = 3


def plot_grid(result: GridResult, file: BinaryIO) -> None:
    """Plot the accuracy of each method over frames, with intervals and one panel for each budget, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    compressed = [one for one in result.variants if one.variant.method is not None]
    budgets = list(dict.fromkeys(one.variant.budget for one in compressed))
    titles = list(dict.fromkeys(one.variant.title for one in compressed))
    frames = sorted({one.variant.frames for one in compressed})
    columns = min(_MAX_COLUMNS, len(budgets))
    rows = -(-len(budgets) // columns)
    figure = Figure(figsize=(7.5 * columns + 2, 6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for place, budget in enumerate(budgets, start=1):
        axes = figure.add_subplot(rows, columns, place)
        for number, title in enumerate(titles):
            points = [one for one in compressed if (one.variant.title, one.variant.budget) == (title, budget)]
            shift = 1 + 0.012 * (number - len(titles) / 2)  # side by side, so that no interval covers another
            axes.errorbar(
                [one.variant.frames * shift for one in points],
                [_percent(one.accuracy.value) for one in points],
                yerr=[_error_bars(points, -1), _error_bars(points, 1)],
                label=title,
                color=f"C{number % _NUM_COLOURS}",
                linestyle=_LINE_STYLES[number // _NUM_COLOURS % len(_LINE_STYLES)],
                marker=_MARKERS[number % len(_MARKERS)],
                markersize=5,
                linewidth=1.4,
                elinewidth=0.7,
            )
        for one in result.variants:
            if one.variant.method is None:
                height = _percent(one.accuracy.value)
                axes.axhline(height, color="grey", linestyle="--", linewidth=0.9)
                axes.annotate(
                    one.variant.title, (frames[-1], height), color="dimgrey", fontsize=8, va="bottom", ha="right"
                )
        axes.set_xscale("log")
        axes.set_xticks(frames, [str(count) for count in frames])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("frames")
        axes.set_ylabel("exact match, %, 95 % intervals clustered by video")
        axes.set_title(f"{budget:,} visual tokens in all")
        axes.grid(alpha=0.25)
    lines, names = figure.axes[-1].get_legend_handles_labels()
    figure.legend(lines, names, fontsize=8, loc="outside right center")
    figure.savefig(file, format="png", dpi=120)


def _error_bars(points: Sequence[VariantResult], side: int) -> list[float]:
    """Return the lengths of the lower or upper error bars."""
    ends = [(one.accuracy.low if side < 0 else one.accuracy.high, one.accuracy.value) for one in points]
    return [0.0 if end is None or value is None else abs(100 * (end - value)) for end, value in ends]


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100 * value
