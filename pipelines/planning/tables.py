"""Plans as tables and as JSON."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pipelines.planning.folder import FolderPlans
from pipelines.terminal import format_bytes
from vidzip import Plan, VidzipError, token_split
from vidzip.planner import VIDEO_LLAVA_7B, CostModel, Costs, FrontierPoint, PlanReport

Rows = list[tuple[str, ...]]

TOKEN_COUNTS = ("frames", "tokens each", "dominant + contextual")
STAGES = ("stage", "predicted", "error")
COSTS = ("latency", "memory")
VIDEOS = ("video", "frames", "tokens", "latency", "memory", "pack")


def headline(report: PlanReport) -> str:
    """Frames and tokens, and why tokens are unused."""
    plan = report.plan
    summary = f"{plan.num_frames} frames, {plan.total_tokens} of {plan.budget.total_tokens} tokens"
    if not plan.unused_tokens:
        return summary
    limits = " and ".join(limit for limit in report.binding_constraints if limit in {"latency", "memory"})
    reason = f"limited by {limits}" if limits else "every frame keeps all of its tokens"
    return f"{summary} ({plan.unused_tokens} unused: {reason})"


def token_counts(plan: Plan) -> Rows:
    """Rows of how many frames get how many tokens."""
    counted = sorted(Counter(plan.tokens_per_frame).items())
    return [(str(count), str(tokens), _format_split(tokens)) for tokens, count in counted]


def stages(costs: Costs) -> Rows:
    """Rows of each stage's prediction with its error, and of the total."""
    rows = [(name, _format_seconds(one.seconds), _format_error(one.error)) for name, one in costs.stages.items()]
    new_token = costs.seconds_per_new_token
    return [
        *rows,
        ("to the first token", _format_seconds(costs.seconds), _format_error(costs.error)),
        ("each new token", _format_seconds(new_token.seconds), _format_error(new_token.error)),
        ("peak memory", format_bytes(costs.peak_bytes), ""),
    ]


def alternatives(report: PlanReport) -> tuple[tuple[str, ...], Rows]:
    """Header and rows of the plans that were not chosen."""
    costs = COSTS if report.costs else ()
    rows: Rows = []
    for one in report.alternatives:
        cells = _format_costs(one.costs) if costs else ()
        rows.append((f"{one.num_frames:,} frames", f"{one.total_tokens:,}", *cells, one.reason))
    return ("not chosen", "tokens", *costs, "reason"), rows


def frontier(points: Sequence[FrontierPoint], report: PlanReport) -> tuple[tuple[str, ...], Rows]:
    """Header and rows of the most tokens that frame counts may have; the chosen count is marked."""
    costs, chosen = COSTS if report.costs else (), (report.plan.num_frames, report.plan.total_tokens)
    rows: Rows = []
    for one in points:
        counts = f"{one.num_frames:,}", f"{one.total_tokens:,}", f"{one.total_tokens / one.num_frames:.4g}"
        accuracy = "" if one.accuracy is None or one.exceeded_limits else f"{one.accuracy:.1%}"
        remark = "chosen" if (one.num_frames, one.total_tokens) == chosen else ""
        if one.exceeded_limits:
            remark = exceeded(one.exceeded_limits)
        rows.append((*counts, *(_format_costs(one.costs) if costs else ()), accuracy, remark))
    return ("frames", "tokens at most", "each", *costs, "accuracy", ""), rows


def videos(plans: FolderPlans) -> Rows:
    """A row per planned video."""
    return [
        (
            os.path.relpath(path, plans.folder),
            f"{report.plan.num_frames:,}",
            f"{report.plan.total_tokens:,}",
            *_format_costs(report.costs),
            _format_size(report.pack_bytes),
        )
        for path, report in plans.reports.items()
    ]


def totals(plans: FolderPlans) -> Rows:
    """Rows of a folder's totals."""
    return [
        ("videos", f"{len(plans.reports):,} planned, {len(plans.failures):,} failed"),
        ("frames", f"{plans.num_frames:,}"),
        ("tokens", f"{plans.total_tokens:,}"),
        ("time to the first token of each", f"{_format_seconds(plans.seconds)} {_format_error(plans.error)}"),
        ("peak memory", format_bytes(plans.peak_bytes)),
        ("disk for packs", _format_size(plans.disk_bytes)),
    ]


def record(video: str, report: PlanReport, points: Sequence[FrontierPoint]) -> dict[str, Any]:
    """A plan and its report as JSON."""
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
        "predicted_by": _cost_model(report.cost_model),
        "predicted": None if report.costs is None else asdict(report.costs),
        "binding_constraints": list(report.binding_constraints),
        "alternatives": [asdict(one) for one in report.alternatives],
        "frontier": [asdict(one) for one in points],
        "warnings": list(plan.warnings),
        "notes": [*plan.notes, *report.notes],
    }


def failure_record(video: str, error: VidzipError) -> dict[str, Any]:
    """The error of a video that could not be planned, as JSON."""
    return {"schema": "vidzip/plan-failure/1", "video": video, "error": error.message, "hint": error.hint}


def folder_record(plans: FolderPlans) -> dict[str, Any]:
    """A folder's totals as JSON."""
    return {
        "schema": "vidzip/plan-folder/1",
        "folder": plans.folder,
        "videos": len(plans.reports),
        "failed": len(plans.failures),
        "other_files": len(plans.others),
        "frames": plans.num_frames,
        "visual_tokens": plans.total_tokens,
        "seconds": plans.seconds,
        "error": plans.error,
        "peak_bytes": plans.peak_bytes,
        "disk_bytes": plans.disk_bytes,
    }


def exceeded(limits: Sequence[str]) -> str:
    """``"exceeds the latency and memory limits"``."""
    return f"exceeds the {' and '.join(limits)} limit{'s' if len(limits) > 1 else ''}"


def _cost_model(model: CostModel | None) -> dict[str, Any] | None:
    if model is None:
        return None
    return {"model": model.shape.name, **{key: getattr(model, key) for key in ("device", "dtype", "is_calibrated")}}


def _format_costs(costs: Costs | None) -> tuple[str, str]:
    return ("", "") if costs is None else (_format_seconds(costs.seconds), format_bytes(costs.peak_bytes))


def _format_seconds(seconds: float) -> str:
    return f"{seconds:,.3f} s" if seconds < 100 else f"{seconds:,.0f} s"


def _format_error(share: float) -> str:
    return f"± {share:.0%}"


def _format_size(num_bytes: int | None) -> str:
    return "unknown" if num_bytes is None else format_bytes(num_bytes)


def _format_split(tokens: int) -> str:
    if tokens >= VIDEO_LLAVA_7B.tokens_per_frame:
        return "uncompressed"
    return "{} + {}".format(*token_split(tokens))
