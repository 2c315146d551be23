"""The curves of a training run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def plot_curves(rows: Sequence[dict[str, Any]], file: BinaryIO) -> None:
    """Draw every logged value over its stage's steps, one panel each, into a PNG."""
    panels = [
        (stage, name)
        for stage in dict.fromkeys(row["stage"] for row in rows)
        for name in dict.fromkeys(key for row in rows if row["stage"] == stage for key in row)
        if name not in {"stage", "step"}
    ]
    num_columns = 4
    num_rows = max(1, -(-len(panels) // num_columns))
    figure = Figure(figsize=(4 * num_columns, 2.6 * num_rows), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (stage, name) in enumerate(panels, start=1):
        axes = figure.add_subplot(num_rows, num_columns, number)
        points = [(row["step"], row[name]) for row in rows if row["stage"] == stage and name in row]
        axes.plot(*zip(*points, strict=True), linewidth=0.8)
        axes.set_title(f"{stage}: {name}", fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(file, format="png", dpi=110)
