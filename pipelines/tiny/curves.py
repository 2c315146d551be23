"""The curves of a training run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, BinaryIO

from vidzip.errors import SystemFault


class NoPlotting(SystemFault):
    """What draws the curves is not installed."""


def check_plotting() -> None:
    """Make sure that curves can be drawn, before an hour is spent on what they show.

    Raises:
        NoPlotting: they cannot.
    """
    if find_spec("matplotlib") is None:
        raise NoPlotting("the curves need matplotlib, which is not installed", hint="pip install 'vidzip[report]'")


def plot_curves(rows: Sequence[dict[str, Any]], file: BinaryIO) -> None:
    """Draw every logged value over its stage's steps, one panel each, into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [
        (stage, name)
        for stage in dict.fromkeys(row["stage"] for row in rows)
        for name in dict.fromkeys(key for row in rows if row["stage"] == stage for key in row)
        if name not in {"stage", "step"}
    ]
    across = 4
    down = max(1, -(-len(panels) // across))
    figure = Figure(figsize=(4 * across, 2.6 * down), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (stage, name) in enumerate(panels, start=1):
        axes = figure.add_subplot(down, across, place)
        points = [(row["step"], row[name]) for row in rows if row["stage"] == stage and name in row]
        axes.plot(*zip(*points, strict=True), linewidth=0.8)
        axes.set_title(f"{stage}: {name}", fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(file, format="png", dpi=110)
