"""Bar chart of the measured stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from pipelines.bench.measuring import CaseResult
from pipelines.bench.settings import PUBLISHED, PUBLISHED_ONE_BATCH, STAGES, TITLES, UNCOMPRESSED, VIDZIP

_PLOTTED = (UNCOMPRESSED, PUBLISHED_ONE_BATCH, PUBLISHED, VIDZIP)
"""Variants whose stages run one after the other and end in tokens."""


def plot_stages(results: Sequence[CaseResult], file: BinaryIO) -> None:
    """Plot the median of every stage as stacked bars, one panel per video, precision and budget, into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    plotted = [result for result in results if result.case.variant in _PLOTTED]
    budgets: set[int | None] = {result.case.tokens for result in plotted if result.case.tokens}
    panels = [
        (video, dtype, tokens)
        for video, dtype in dict.fromkeys((result.case.video, result.case.dtype) for result in plotted)
        for tokens in sorted(budgets or {None}, key=lambda tokens: tokens or 0)
    ]
    figure = Figure(figsize=(9, 4.5 * max(1, len(panels))), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (video, dtype, tokens) in enumerate(panels, start=1):
        axes = figure.add_subplot(len(panels), 1, place)
        bars = [
            result
            for result in plotted
            if (result.case.video, result.case.dtype) == (video, dtype) and result.case.tokens in (tokens, None)
        ]
        bars.sort(key=lambda bar: (bar.case.variant != UNCOMPRESSED, bar.case.frames, _PLOTTED.index(bar.case.variant)))
        bottoms = [0.0] * len(bars)
        for number, stage in enumerate(STAGES):
            medians = [bar.median(stage) for bar in bars]
            if any(medians):
                heights = [0.0 if median is None else median.median for median in medians]
                axes.bar(range(len(bars)), heights, bottom=bottoms, label=TITLES[stage], color=f"C{number}")
                bottoms = [below + height for below, height in zip(bottoms, heights, strict=True)]
        axes.set_xticks(
            range(len(bars)), [f"{bar.case.variant}\n{bar.case.frames} frames" for bar in bars], fontsize=8, rotation=30
        )
        axes.set_ylabel("median seconds")
        title = (video or "", dtype, "" if tokens is None else f"{tokens} tokens")
        axes.set_title(", ".join(filter(None, title)))
        axes.grid(axis="y", alpha=0.25)
        axes.legend(fontsize=8)
    figure.savefig(file, format="png", dpi=120)
