"""``vidzip plan``."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
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
from pipelines.planning.planned import Wish, plan_folder
from pipelines.settings import DEFAULT_MODEL
from pipelines.source import MOST_LISTED, Source
from pipelines.terminal import print_line, print_message, print_table, progress_bar
from vidzip import Budget, VideoInfo, probe
from vidzip.errors import BadArgument
from vidzip.files import whole_file
from vidzip.planner import CostModel, FrontierPoint, PlanReport
from vidzip.planner.choosing import Prefer

SOME_FAILED = 2
"""The exit code where a folder's video could not be planned: as of bad input."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {unit: 2 ** (10 * power) for power, unit in enumerate(_UNITS)}
_PREDICTING = ("max_latency", "max_memory", "model", "device", "dtype", "plot")
_EXPLAINING = (*_PREDICTING, "prefer", "min_tokens", "method")
"""Options of those who want to know what a plan costs, and why it is the one."""


class Memory(click.ParamType):  # type: ignore[type-arg] # generic from click 8.5 on only
    """An amount of memory: 8GB, 500MB, 7.5 GiB, 8e9."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Turn it into bytes."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d\d?)?)\s*([kmgt]?)(i?)b?", value.strip(), re.IGNORECASE)
        if found is None or (found[3] and not found[2]):
            self.fail(f"{value!r} is no amount of memory; write 8GB, 500MB, 7.5GiB or bytes", param, ctx)
        unit = found[2].upper()
        return int(Decimal(found[1]) * (_BINARY_UNITS if found[3] else _UNITS)[unit])


@click.command(name="plan", cls=VideoCommand)
@video_argument("VIDEO|FOLDER")
@budget_options
@click.option(
    "--prefer",
    type=click.Choice(get_args(Prefer)),
    default=Budget.prefer,
    show_default=True,
    help="Accuracy as measured, many frames, or many tokens a frame.",
)
@click.option(
    "--min-tokens",
    type=int,
    metavar="N",
    default=Budget.min_tokens_per_frame,
    show_default=True,
    help="Tokens that every frame gets at least.",
)
@click.option(
    "--max-latency", type=float, metavar="SECONDS", help="From the file to the first token, the model being loaded."
)
@click.option("--max-memory", type=Memory(), metavar="SIZE", help="Of the device, weights included: 8GB.")
@click.option("--model", metavar="NAME", help=f"Whose costs are predicted.  [default: {DEFAULT_MODEL}]")
@device_option
@dtype_option
@click.option(
    "--method", metavar="NAME", default=Source.method, show_default=True, help="Whose measured accuracies are followed."
)
@click.option(
    "--clip",
    "frames_per_clip",
    type=int,
    metavar="N",
    help="Frames that the model's tower encodes together: 8 for the original Video-LLaVA.  [default: the model's, or 1]",
)
@click.option("--plot", type=click.Path(), metavar="FILE", help="Draw frames against latency into a PNG.")
@output_options
def plan_command(**options: Any) -> int:
    """Show which frames a budget buys, and what they cost; no model is loaded.

    Costs are predicted where --model or a cap is given: from what 'vidzip calibrate' measured, or else from what is
    assumed of a machine like this one. Of a folder, every video is planned, and what all come to is told.
    """
    video, is_folder = options["video"], os.path.isdir(options["video"])
    info = None if is_folder else probe(video)
    wish = Wish(
        budget=Budget(
            total_tokens=options["budget"],
            num_frames=options["frames"],
            max_latency_seconds=options["max_latency"],
            max_memory_bytes=options["max_memory"],
            min_tokens_per_frame=options["min_tokens"],
            prefer=options["prefer"],
        ),
        start=options["start"],
        end=options["end"],
        snap=options["snap"],
        frames_per_clip=options["frames_per_clip"],
        costs=_find_costs(options) if is_folder or _named(_PREDICTING) else None,
        method=options["method"],
    )
    if info is not None:
        _plan_video(info, wish, options)
        return 0
    return _plan_folder(video, wish, options)


def _plan_video(info: VideoInfo, wish: Wish, options: dict[str, Any]) -> None:
    planner = wish.planner(info)
    report = planner.report()
    points = planner.frontier(report.plan.num_frames)
    if options["plot"] is not None:
        from pipelines.planning.plot import plot_frontier
        from pipelines.plotting import check_plotting

        check_plotting()
        with whole_file(options["plot"]) as file:
            plot_frontier(os.path.basename(info.path), report, points, file)
    if options["as_json"]:
        click.echo(json.dumps(tables.record(info.path, report, points)))
        return
    for warning in dict.fromkeys(report.plan.warnings):
        print_message("warning", warning)
    print_line(tables.headline(report))
    print_table(tables.shares(report.plan), header=tables.SHARES)
    print_line("at seconds " + " ".join(f"{moment:.2f}" for moment in report.plan.timestamps_seconds))
    if _named(_EXPLAINING):
        _explain(report, points)
    for note in (*report.plan.notes, *report.notes):
        print_message("note", note)


def _explain(report: PlanReport, points: Sequence[FrontierPoint]) -> None:
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


def _plan_folder(folder: str, wish: Wish, options: dict[str, Any]) -> int:
    if options["plot"] is not None:
        raise BadArgument("--plot draws one video's plan, and a folder was given", hint="name a video")
    with progress_bar() as show:
        batch = plan_folder(folder, wish, show)
    if options["as_json"]:
        for video, report in batch.reports.items():
            click.echo(json.dumps(tables.record(video, report, ())))
        for video, error in batch.failures.items():
            click.echo(json.dumps(tables.failure_record(video, error)))
        click.echo(json.dumps(tables.batch_record(batch)))
    else:
        if batch.reports:
            print_table(tables.videos(batch), header=tables.VIDEOS)
            print_line()
        print_table(tables.totals(batch))
    for video, error in batch.failures.items():
        print_message("warning", f"{video!r} cannot be planned: {error}")
    counted = Counter(note for report in batch.reports.values() for note in (*report.plan.notes, *report.notes))
    for note, count in counted.items():
        print_message("note", note if count == len(batch.reports) else f"of {count:,} videos: {note}")
    if batch.others:
        listed = ", ".join(
            [*map(repr, batch.others[:MOST_LISTED]), *(["…"] if len(batch.others) > MOST_LISTED else [])]
        )
        print_message("note", f"passed over {len(batch.others):,} files that are no videos by their names: {listed}")
    return SOME_FAILED if batch.failures else 0


def _find_costs(options: dict[str, Any]) -> CostModel:
    from pipelines.planning.predicting import costs_of

    if options["model"] is None:
        print_message("note", f"no --model was named: costs are those of {DEFAULT_MODEL}")
    return costs_of(options["model"] or DEFAULT_MODEL, options["device"], options["dtype"])


def _named(names: Sequence[str]) -> bool:
    """Whether the command line names one of some options."""
    context = click.get_current_context()
    return any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in names)
