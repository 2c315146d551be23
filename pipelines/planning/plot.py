"""A plot of frames against latency, with the limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

from pipelines.planning.tables import exceeded
from vidzip.planner import Budget, FrontierPoint, PlanReport


def plot_frontier(title: str, report: PlanReport, points: Sequence[FrontierPoint], file: BinaryIO) -> None:
    """Plot the latency of frame counts, each with the most tokens within the limits, into a PNG.

    Args:
        title: the title.
        report: the chosen plan with its costs.
        points: the frontier.
        file: where the PNG goes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    frames = [one.num_frames for one in points]
    seconds = [0.0 if one.costs is None else one.costs.seconds for one in points]
    error = 0.0 if report.costs is None else report.costs.error
    low, high = ([value * max(0.0, 1 + side * error) for value in seconds] for side in (-1, 1))
    axes.fill_between(frames, low, high, alpha=0.15, label=f"± {error:.0%}: 90 % of measurements")
    axes.plot(frames, seconds, marker="o", markersize=4, label="most tokens within the limits")
    for one, height in zip(points, seconds, strict=True):
        text, side = (
            (exceeded(one.exceeded_limits), "right") if one.exceeded_limits else (f"{one.total_tokens:,}", "center")
        )
        position = (one.num_frames, height)
        axes.annotate(text, position, fontsize=8, xytext=(0, 6), textcoords="offset points", ha=side)
    if report.costs is not None:
        label = f"chosen: {report.plan.num_frames} frames, {report.plan.total_tokens} tokens"
        axes.plot([report.plan.num_frames], [report.costs.seconds], "*", markersize=15, color="tab:red", label=label)
    _draw_limits(axes, report.plan.budget, points)
    axes.set_xscale("log", base=2)
    ticks = [count for place, count in enumerate(frames) if not place or count > 1.15 * frames[place - 1]]
    axes.set_xticks(ticks, [f"{count:,}" for count in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1.15 * max([*seconds, report.plan.budget.max_latency_seconds or 0.0]))
    axes.set_xlabel("frames (labels: tokens)")
    axes.set_ylabel("predicted seconds from file to first token")
    axes.set_title(title)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="upper left")
    figure.savefig(file, format="png", dpi=120)


def _draw_limits(axes: Any, budget: Budget, points: Sequence[FrontierPoint]) -> None:
    if budget.max_latency_seconds is not None:
        limit = budget.max_latency_seconds
        axes.axhline(limit, color="tab:red", linestyle="--", linewidth=1, label=f"latency limit: {limit:g} s")
    memory = budget.max_memory_bytes
    beyond = [one.num_frames for one in points if "memory" in one.exceeded_limits]
    if memory is not None and beyond:
        label = f"memory limit, {memory / 1e9:g} GB: exceeded from here"
        axes.axvline(beyond[0], color="tab:purple", linestyle="--", linewidth=1, label=label)
