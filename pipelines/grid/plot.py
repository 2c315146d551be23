"""A grid as a picture: accuracy over frames, a line a method."""

from __future__ import annotations

from typing import BinaryIO

from pipelines.grid.results import Cell, Found

_MARKS = "osD^vP*X<>hd"
_DASHES = ("-", "--", ":")
"""Lines beyond the ten colours that matplotlib has are told apart by these."""

_COLOURS = 10
_ACROSS = 3
"""Panels side by side."""


def plot_grid(found: Found, file: BinaryIO) -> None:
    """Draw every method's accuracy over frames, with its intervals, a panel a budget, into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    ours = [cell for cell in found.cells if cell.setting.method is not None]
    budgets = list(dict.fromkeys(cell.setting.budget for cell in ours))
    titles = list(dict.fromkeys(cell.setting.title for cell in ours))
    frames = sorted({cell.setting.frames for cell in ours})
    across = min(_ACROSS, len(budgets))
    down = -(-len(budgets) // across)
    figure = Figure(figsize=(7.5 * across + 2, 6 * down), layout="constrained")
    FigureCanvasAgg(figure)
    for place, budget in enumerate(budgets, start=1):
        axes = figure.add_subplot(down, across, place)
        for number, title in enumerate(titles):
            mine = [cell for cell in ours if (cell.setting.title, cell.setting.budget) == (title, budget)]
            shift = 1 + 0.012 * (number - len(titles) / 2)  # side by side, so that no interval hides another
            axes.errorbar(
                [cell.setting.frames * shift for cell in mine],
                [_percent(cell.accuracy.value) for cell in mine],
                yerr=[_reach(mine, -1), _reach(mine, 1)],
                label=title,
                color=f"C{number % _COLOURS}",
                linestyle=_DASHES[number // _COLOURS % len(_DASHES)],
                marker=_MARKS[number % len(_MARKS)],
                markersize=5,
                linewidth=1.4,
                elinewidth=0.7,
            )
        for cell in found.cells:
            if cell.setting.method is None:
                height = _percent(cell.accuracy.value)
                axes.axhline(height, color="grey", linestyle="--", linewidth=0.9)
                axes.annotate(
                    cell.setting.title, (frames[-1], height), color="dimgrey", fontsize=8, va="bottom", ha="right"
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


def _reach(cells: list[Cell], side: int) -> list[float]:
    """How far intervals reach from their values, downwards or upwards."""
    ends = [(cell.accuracy.low if side < 0 else cell.accuracy.high, cell.accuracy.value) for cell in cells]
    return [0.0 if end is None or value is None else abs(100 * (end - value)) for end, value in ends]


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100 * value
