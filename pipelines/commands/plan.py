"""``vidzip plan``."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, get_args

import click
from click.core import ParameterSource

from pipelines.options import (
    VideoCommand,
    budget_options,
    device_option,
    dtype_option,
    output_options,
    video_argument,
)
from pipelines.planning import tables
from pipelines.planning.folder import plan_folder
from pipelines.settings import DEFAULT_MODEL
from pipelines.source import MAX_LISTED_FRAMES, VideoSource
from pipelines.terminal import print_line, print_message, print_table, progress_bar
from vidzip import Budget, VideoInfo, probe
from vidzip.errors import BadArgument
from vidzip.files import atomic_file
from vidzip.planner import CostModel, FrontierPoint, Planner, PlanReport
from vidzip.planner.budget import Preference

SOME_FAILED = 2
"""The exit code if a video of a folder could not be planned, as for bad input."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {unit: 2 ** (10 * power) for power, unit in enumerate(_UNITS)}
_COST_OPTIONS = ("max_latency", "max_memory", "model", "device", "dtype", "plot")
"""Options that ask for costs."""

_REPORT_OPTIONS = (*_COST_OPTIONS, "prefer", "min_tokens", "method")
"""Options that ask for the reasons of a choice."""


class Memory(click.ParamType):  # type: ignore[type-arg] # generic from click 8.5 on only
    """An amount of memory: 8GB, 500MB, 7.5 GiB, 8e9."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Convert an amount to bytes."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d\d?)?)\s*([kmgt]?)(i?)b?", value.strip(), re.IGNORECASE)
        if found is None or (found[3] and not found[2]):
            self.fail(f"{value!r} is not an amount of memory; write 8GB, 500MB, 7.5GiB or bytes", param, ctx)
        unit = found[2].upper()
        return int(Decimal(found[1]) * (_BINARY_UNITS if found[3] else _UNITS)[unit])


@click.command(name="plan", cls=VideoCommand)
@video_argument("VIDEO|FOLDER")
@budget_options
@click.option(
    "--prefer",
    type=click.Choice(get_args(Preference)),
    default=Budget.prefer,
    show_default=True,
    help="What to maximize: measured accuracy, frames, or tokens per frame.",
)
@click.option(
    "--min-tokens",
    type=int,
    metavar="N",
    default=Budget.min_tokens_per_frame,
    show_default=True,
    help="Minimum of tokens per frame.",
)
@click.option(
    "--max-latency", type=float, metavar="SECONDS", help="Limit from file to first token, with the model loaded."
)
@click.option("--max-memory", type=Memory(), metavar="SIZE", help="Limit of the device, weights included: 8GB.")
@click.option("--model", metavar="NAME", help=f"Model whose costs are predicted.  [default: {DEFAULT_MODEL}]")
@device_option
@dtype_option
@click.option(
    "--method",
    metavar="NAME",
    default=VideoSource.method,
    show_default=True,
    help="Method whose measured accuracy is used.",
)
@click.option(
    "--frames-per-clip",
    type=int,
    metavar="N",
    help="Frames that the vision tower encodes together: 8 for the original Video-LLaVA.  [default: the model's, or 1]",
)
@click.option("--plot", type=click.Path(), metavar="FILE", help="Plot frames against latency into a PNG.")
@output_options
def command(**options: Any) -> int:
    """Show which frames a budget allows, and their costs; no model is loaded.

    Costs are predicted if --model or a limit is given: from the rates that 'vidzip calibrate' measured, or from assumed
    rates of a similar machine. Of a folder, all videos are planned, and their costs are added up.
    """
    video, is_folder = options["video"], os.path.isdir(options["video"])
    info = None if is_folder else probe(video)
    cost_model = _find_cost_model(options) if is_folder or _are_given(_COST_OPTIONS) else None
    budget = Budget(
        total_tokens=options["budget"],
        num_frames=options["frames"],
        max_latency_seconds=options["max_latency"],
        max_memory_bytes=options["max_memory"],
        min_tokens_per_frame=options["min_tokens"],
        prefer=options["prefer"],
    )

    def planner_of(info: VideoInfo) -> Planner:
        same = {key: options[key] for key in ("start", "end", "snap", "frames_per_clip", "method")}
        return Planner(info=info, budget=budget, costs=cost_model, **same)

    if info is not None:
        _plan_video(planner_of(info), options)
        return 0
    if options["plot"] is not None:
        raise BadArgument("--plot draws one video's plan, and a folder was given", hint="name a video")
    return _plan_folder(video, planner_of, as_json=options["as_json"])


def _plan_video(planner: Planner, options: dict[str, Any]) -> None:
    report, path = planner.report(), planner.info.path
    points = planner.frontier(report.plan.num_frames)
    if options["plot"] is not None:
        from pipelines.planning.plot import plot_frontier
        from pipelines.plotting import check_plotting

        check_plotting()
        with atomic_file(options["plot"]) as file:
            plot_frontier(os.path.basename(path), report, points, file)
    if options["as_json"]:
        click.echo(json.dumps(tables.record(path, report, points)))
        return
    for warning in dict.fromkeys(report.plan.warnings):
        print_message("warning", warning)
    print_line(tables.headline(report))
    print_table(tables.token_counts(report.plan), header=tables.TOKEN_COUNTS)
    print_line("at seconds " + " ".join(f"{timestamp:.2f}" for timestamp in report.plan.timestamps_seconds))
    if _are_given(_REPORT_OPTIONS):
        _print_report(report, points)
    for note in (*report.plan.notes, *report.notes):
        print_message("note", note)


def _print_report(report: PlanReport, points: Sequence[FrontierPoint]) -> None:
    """Print costs, binding constraints, alternatives, and the tokens that other frame counts may have."""
    if report.costs is not None:
        print_line()
        print_table(tables.stages(report.costs), header=tables.STAGES)
    print_line(
        f"\nlimited by: {', '.join(report.binding_constraints) or 'nothing, every frame keeps all of its tokens'}\n"
    )
    for header, rows in (tables.alternatives(report), tables.frontier(points, report)):
        if rows:
            print_table(rows, header=header)
            print_line()


def _plan_folder(folder: str, planner_of: Callable[[VideoInfo], Planner], *, as_json: bool) -> int:
    with progress_bar() as show:
        plans = plan_folder(folder, planner_of, show)
    if as_json:
        for video, report in plans.reports.items():
            click.echo(json.dumps(tables.record(video, report, ())))
        for video, error in plans.failures.items():
            click.echo(json.dumps(tables.failure_record(video, error)))
        click.echo(json.dumps(tables.folder_record(plans)))
    else:
        if plans.reports:
            print_table(tables.videos(plans), header=tables.VIDEOS)
            print_line()
        print_table(tables.totals(plans))
    for video, error in plans.failures.items():
        print_message("warning", f"{video!r} cannot be planned: {error}")
    counted = Counter(note for report in plans.reports.values() for note in (*report.plan.notes, *report.notes))
    for note, count in counted.items():
        print_message("note", note if count == len(plans.reports) else f"of {count:,} videos: {note}")
    if plans.others:
        listed = [
            *map(repr, plans.others[:MAX_LISTED_FRAMES]),
            *(["…"] if len(plans.others) > MAX_LISTED_FRAMES else []),
        ]
        print_message("note", f"skipped {len(plans.others):,} files without a video's suffix: {', '.join(listed)}")
    return SOME_FAILED if plans.failures else 0


def _find_cost_model(options: dict[str, Any]) -> CostModel:
    from pipelines.planning.cost_models import find_cost_model

    if options["model"] is None:
        print_message("note", f"no --model was named: costs are those of {DEFAULT_MODEL}")
    return find_cost_model(options["model"] or DEFAULT_MODEL, options["device"], options["dtype"])


def _are_given(names: Sequence[str]) -> bool:
    """Whether the command line gives at least one of some options."""
    context = click.get_current_context()
    return any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in names)
