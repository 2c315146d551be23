"""What was measured, as a picture: a bar a way and frame count, its stages upon each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from pipelines.bench.measuring import Measured
from pipelines.bench.settings import FULL, OURS, PUBLISHED, STAGES, TITLES, WHOLE

_SHOWN = (FULL, WHOLE, PUBLISHED, OURS)
"""Ways whose stages follow each other, and end in tokens."""


def plot_stages(measured: Sequence[Measured], file: BinaryIO) -> None:
    """Draw the median of every stage, a panel a video, precision and budget, into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [one for one in measured if one.case.way in _SHOWN]
    budgets: set[int | None] = {one.case.tokens for one in shown if one.case.tokens}
    panels = [
        (video, dtype, tokens)
        for video, dtype in dict.fromkeys((one.case.video, one.case.dtype) for one in shown)
        for tokens in sorted(budgets or {None}, key=lambda tokens: tokens or 0)
    ]
    figure = Figure(figsize=(9, 4.5 * max(1, len(panels))), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (video, dtype, tokens) in enumerate(panels, start=1):
        axes = figure.add_subplot(len(panels), 1, place)
        bars = [
            one
            for one in shown
            if (one.case.video, one.case.dtype) == (video, dtype) and one.case.tokens in (tokens, None)
        ]
        bars.sort(key=lambda one: (one.case.way != FULL, one.case.frames, _SHOWN.index(one.case.way)))
        bottoms = [0.0] * len(bars)
        for number, stage in enumerate(STAGES):
            middles = [one.middle(stage) for one in bars]
            if any(middles):
                heights = [0.0 if found is None else found.median for found in middles]
                axes.bar(range(len(bars)), heights, bottom=bottoms, label=TITLES[stage], color=f"C{number}")
                bottoms = [below + height for below, height in zip(bottoms, heights, strict=True)]
        axes.set_xticks(
            range(len(bars)), [f"{one.case.way}\n{one.case.frames} frames" for one in bars], fontsize=8, rotation=30
        )
        axes.set_ylabel("seconds, medians")
        named = (video or "", dtype, "" if tokens is None else f"{tokens} tokens")
        axes.set_title(", ".join(filter(None, named)))
        axes.grid(axis="y", alpha=0.25)
        axes.legend(fontsize=8)
    figure.savefig(file, format="png", dpi=120)
