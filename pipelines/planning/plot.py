"""Frames against latency as a picture, with the caps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

from vidzip import Plan
from vidzip.planner import Point


def plot_frontier(title: str, plan: Plan, points: Sequence[Point], file: BinaryIO) -> None:
    """Draw what frame counts take with the most tokens that the caps leave them, into a PNG.

    Args:
        title: what the picture is of.
        plan: the chosen plan, with costs.
        points: the frontier.
        file: where the picture goes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    frames = [one.num_frames for one in points]
    seconds = [0.0 if one.costs is None else one.costs.seconds for one in points]
    error = 0.0 if plan.costs is None else plan.costs.error
    low, high = ([value * max(0.0, 1 + side * error) for value in seconds] for side in (-1, 1))
    axes.fill_between(frames, low, high, alpha=0.15, label=f"± {error:.0%}, nine times of ten")
    axes.plot(frames, seconds, marker="o", markersize=4, label="with as many tokens as the caps leave")
    for one, height in zip(points, seconds, strict=True):
        words = f"passes {' and '.join(one.breaks)}" if one.breaks else f"{one.total_tokens:,}"
        axes.annotate(
            words, (one.num_frames, height), fontsize=8, xytext=(0, 6), textcoords="offset points", ha="center"
        )
    if plan.costs is not None:
        told = f"chosen: {plan.num_frames} frames, {plan.total_tokens} tokens"
        axes.plot([plan.num_frames], [plan.costs.seconds], "*", markersize=15, color="tab:red", label=told)
    _draw_caps(axes, plan, points)
    axes.set_xscale("log", base=2)
    ticks = [count for place, count in enumerate(frames) if not place or count > 1.15 * frames[place - 1]]
    axes.set_xticks(ticks, [f"{count:,}" for count in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1.15 * max([*seconds, plan.budget.max_latency_seconds or 0.0]))
    axes.set_xlabel("frames; tokens stand at the points")
    axes.set_ylabel("predicted seconds from the file to the first token")
    axes.set_title(title)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="upper left")
    figure.savefig(file, format="png", dpi=120)


def _draw_caps(axes: Any, plan: Plan, points: Sequence[Point]) -> None:
    if plan.budget.max_latency_seconds is not None:
        cap = plan.budget.max_latency_seconds
        axes.axhline(cap, color="tab:red", linestyle="--", linewidth=1, label=f"cap on latency: {cap:g} s")
    memory = plan.budget.max_memory_bytes
    beyond = [one.num_frames for one in points if "memory" in one.breaks]
    if memory is not None and beyond:
        told = f"cap on memory: {memory / 1e9:g} GB, passed from here on"
        axes.axvline(beyond[0], color="tab:purple", linestyle="--", linewidth=1, label=told)
