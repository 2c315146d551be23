"""Plans as a person reads them, and as JSON takes them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pipelines.planning.planned import Batch
from pipelines.terminal import format_bytes
from vidzip import Plan, VidzipError, token_split
from vidzip.planner import VIDEO_LLAVA_7B, CostModel, Costs, FrontierPoint, PlanReport

Rows = list[tuple[str, ...]]

SHARES = ("frames", "tokens each", "dominant + contextual")
STAGES = ("stage", "predicted", "error")
COSTS = ("latency", "memory")
VIDEOS = ("video", "frames", "tokens", "latency", "memory", "pack")


def headline(report: PlanReport) -> str:
    """Frames and tokens, and why tokens are left."""
    plan = report.plan
    said = f"{plan.num_frames} frames, {plan.total_tokens} of {plan.budget.total_tokens} tokens"
    if not plan.unused_tokens:
        return said
    why = " and ".join(limit for limit in report.binding_constraints if limit in {"latency", "memory"})
    return (
        f"{said} ({plan.unused_tokens} unused: {f'limited by {why}' if why else 'every frame keeps all of its tokens'})"
    )


def shares(plan: Plan) -> Rows:
    """How many frames get how many tokens."""
    counted = sorted(Counter(plan.tokens_per_frame).items())
    return [(str(count), str(tokens), _split_shown(tokens)) for tokens, count in counted]


def stages(costs: Costs) -> Rows:
    """Each stage's prediction and its error, and the sum."""
    rows = [(name, _seconds(one.seconds), _error(one.error)) for name, one in costs.stages.items()]
    new_token = costs.seconds_per_new_token
    return [
        *rows,
        ("to the first token", _seconds(costs.seconds), _error(costs.error)),
        ("each new token", _seconds(new_token.seconds), _error(new_token.error)),
        ("peak memory", format_bytes(costs.peak_bytes), ""),
    ]


def alternatives(report: PlanReport) -> tuple[tuple[str, ...], Rows]:
    """Header and rows of the plans that were not chosen."""
    costs = report.costs
    header = ("not chosen", "tokens", *(COSTS if costs else ()), "because")
    rows = [
        (f"{one.num_frames:,} frames", f"{one.total_tokens:,}", *(_costs(one.costs) if costs else ()), one.reason)
        for one in report.alternatives
    ]
    return header, rows


def frontier(points: Sequence[FrontierPoint], report: PlanReport) -> tuple[tuple[str, ...], Rows]:
    """Header and rows of the most tokens that frame counts may have; the chosen count is marked."""
    costs = report.costs
    header = ("frames", "tokens at most", "each", *(COSTS if costs else ()), "accuracy", "")
    rows = []
    for one in points:
        each = f"{one.total_tokens / one.num_frames:.4g}"
        told = (
            exceeded(one.exceeded_limits) if one.exceeded_limits else "chosen" if _is_chosen(one, report.plan) else ""
        )
        accuracy = "" if one.accuracy is None or one.exceeded_limits else f"{one.accuracy:.1%}"
        tokens = f"{one.total_tokens:,}"
        rows.append((f"{one.num_frames:,}", tokens, each, *(_costs(one.costs) if costs else ()), accuracy, told))
    return header, rows


def videos(batch: Batch) -> Rows:
    """A line a video that could be planned."""
    return [
        (
            os.path.relpath(path, batch.folder),
            f"{report.plan.num_frames:,}",
            f"{report.plan.total_tokens:,}",
            *_costs(report.costs),
            _size(batch.pack_bytes(report.plan)),
        )
        for path, report in batch.reports.items()
    ]


def totals(batch: Batch) -> Rows:
    """What a folder's videos come to."""
    return [
        ("videos", f"{len(batch.reports):,} planned, {len(batch.failures):,} failed"),
        ("frames", f"{batch.num_frames:,}"),
        ("tokens", f"{batch.total_tokens:,}"),
        ("time to the first token of each", f"{_seconds(batch.seconds)} {_error(batch.error)}"),
        ("peak memory", format_bytes(batch.peak_bytes)),
        ("disk for packs", _size(batch.disk_bytes)),
    ]


def record(video: str, report: PlanReport, points: Sequence[FrontierPoint]) -> dict[str, Any]:
    """A plan and its report as JSON takes them."""
    plan, budget = report.plan, report.plan.budget
    return {
        "schema": "vidzip/plan/1",
        "video": video,
        "video_identity": plan.video_identity,
        "budget": budget.total_tokens,
        "frames_requested": budget.num_frames,
        "max_latency_seconds": budget.max_latency_seconds,
        "max_memory_bytes": budget.max_memory_bytes,
        "min_tokens_per_frame": budget.min_tokens_per_frame,
        "prefer": budget.prefer,
        "method": report.method,
        "frames": plan.num_frames,
        "frames_per_clip": plan.frames_per_clip,
        "encoded_frames": plan.num_encoded_frames,
        "visual_tokens": plan.total_tokens,
        "unused_tokens": plan.unused_tokens,
        "tokens_per_frame": list(plan.tokens_per_frame),
        "timestamps_seconds": [round(moment, 6) for moment in plan.timestamps_seconds],
        "predicted_by": _machine(report.cost_model),
        "predicted": _predicted(report.costs),
        "binding_constraints": list(report.binding_constraints),
        "alternatives": [{**asdict(one), "costs": _predicted(one.costs)} for one in report.alternatives],
        "frontier": [{**asdict(one), "costs": _predicted(one.costs)} for one in points],
        "warnings": list(plan.warnings),
        "notes": [*plan.notes, *report.notes],
    }


def failure_record(video: str, error: VidzipError) -> dict[str, Any]:
    """A video that could not be planned, as JSON takes it."""
    return {"schema": "vidzip/plan-failure/1", "video": video, "error": error.message, "hint": error.hint}


def batch_record(batch: Batch) -> dict[str, Any]:
    """A folder's totals as JSON takes them."""
    return {
        "schema": "vidzip/plan-folder/1",
        "folder": batch.folder,
        "videos": len(batch.reports),
        "failed": len(batch.failures),
        "other_files": len(batch.others),
        "frames": batch.num_frames,
        "visual_tokens": batch.total_tokens,
        "seconds": batch.seconds,
        "error": batch.error,
        "peak_bytes": batch.peak_bytes,
        "disk_bytes": batch.disk_bytes,
    }


def exceeded(limits: Sequence[str]) -> str:
    """``"exceeds the latency and memory limits"``."""
    return f"exceeds the {' and '.join(limits)} limit{'s' if len(limits) > 1 else ''}"


def _machine(model: CostModel | None) -> dict[str, Any] | None:
    if model is None:
        return None
    told = {"model": model.shape.name, "device": model.device, "dtype": model.dtype}
    return {**told, "is_calibrated": model.is_calibrated}


def _predicted(costs: Costs | None) -> dict[str, Any] | None:
    return None if costs is None else asdict(costs)


def _is_chosen(point: FrontierPoint, plan: Plan) -> bool:
    return (point.num_frames, point.total_tokens) == (plan.num_frames, plan.total_tokens)


def _costs(costs: Costs | None) -> tuple[str, str]:
    return ("", "") if costs is None else (_seconds(costs.seconds), format_bytes(costs.peak_bytes))


def _seconds(seconds: float) -> str:
    return f"{seconds:,.3f} s" if seconds < 100 else f"{seconds:,.0f} s"


def _error(share: float) -> str:
    return f"± {share:.0%}"


def _size(num_bytes: int | None) -> str:
    return "unknown" if num_bytes is None else format_bytes(num_bytes)


def _split_shown(tokens: int) -> str:
    if tokens >= VIDEO_LLAVA_7B.tokens_per_frame:
        return "whole"
    return "{} + {}".format(*token_split(tokens))
