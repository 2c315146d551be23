"""``vidzip grid``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from pipelines.options import answer_option, debug_option, decoding_options, model_options
from pipelines.terminal import print_line, print_markdown_table, print_message, print_table, progress_bar
from vidzip.errors import BadArgument

if TYPE_CHECKING:
    from pipelines.grid.results import Cell, Difference, Found
    from pipelines.grid.settings import Setting

RESULT, PICTURE = "grid.json", "grid.png"


@click.command(name="grid")
@click.argument("name", metavar="SET")
@click.option("--data", metavar="DIR", required=True, type=click.Path(), help="Folder, or file, of the questions.")
@click.option(
    "--videos", metavar="DIR", type=click.Path(), help="Folder of the videos.  [default: DATA/videos, or DATA]"
)
@click.option("--out", metavar="DIR", required=True, type=click.Path(), help="A folder a run; a second start goes on.")
@click.option(
    "--methods",
    metavar="NAME,...",
    default="all",
    show_default=True,
    help="Methods, with options as NAME:KEY=VALUE.",
)
@click.option("--frames", metavar="N,...", default="8,17,34,68,136", show_default=True, help="Frame counts.")
@click.option("--budget", metavar="N,...", default="136", show_default=True, help="Visual tokens in all.")
@click.option(
    "--against",
    metavar="NAME,...",
    default="visionzip,visionzip:merge=mean",
    show_default=True,
    help="Methods that the others are compared with, the better one each time.",
)
@click.option("--subset", metavar="firstN", help="The first N questions, in file order.")
@click.option("--limit", type=int, metavar="N", help="The first N videos only.")
@click.option("--batch", type=int, metavar="N", default=16, show_default=True, help="Questions of a video at once.")
@click.option("--processes", type=int, metavar="N", help="Processes that decode.  [default: one for two CPUs, up to 8]")
@click.option("--markdown", is_flag=True, help="Print tables of Markdown.")
@model_options
@decoding_options
@answer_option
@debug_option
def grid_command(**options: Any) -> None:
    """Compare methods at every frame count, at one budget.

    SET is a name such as msvd or shapes. Each video is encoded once for a frame count, and compressed in every way.
    Every cell is a run as 'vidzip eval' makes it: 'vidzip report', 'compare' and 'score' take its folder.
    """
    from pipelines.files import write_text
    from pipelines.grid.plot import plot_grid
    from pipelines.grid.results import find_out
    from pipelines.grid.settings import read_counts, read_methods, settings_of
    from pipelines.plotting import check_plotting
    from vidzip.compress import describe
    from vidzip.files import whole_file

    check_plotting()
    against = [describe(method) for method in read_methods(options["against"])]
    frames, budgets = read_counts(options["frames"], "--frames"), read_counts(options["budget"], "--budget")
    settings = settings_of(read_methods(options["methods"]), frames, budgets)
    for budget in budgets:
        if budget < max(frames):
            unheld = ", ".join(str(count) for count in frames if count > budget)
            print_message("note", f"{budget} tokens cannot hold {unheld} frames at 1 each: those cells are left out")
    run_all({**options, "shard": None}, settings)
    found = find_out(options["out"], settings, against)
    write_text(os.path.join(options["out"], RESULT), json.dumps(found.to_json(), indent=1) + "\n")
    with whole_file(os.path.join(options["out"], PICTURE)) as file:
        plot_grid(found, file)
    _print(found, print_markdown_table if options["markdown"] else print_table)
    print_line(f"\n{options['out']} holds the runs, {RESULT} and {PICTURE}")


def run_all(options: dict[str, Any], settings: Sequence[Setting]) -> None:
    """Run what of a grid has not been run yet."""
    from pipelines.evaluation.answering import Answerer
    from pipelines.evaluation.command import decoding_of, describe_run, full_look, load_model, read_questions
    from pipelines.evaluation.crew import usual_processes
    from pipelines.evaluation.journal import open_journal
    from pipelines.evaluation.running import Look
    from pipelines.grid.running import GridWork, run_grid
    from vidzip import Budget

    for flag in ("batch", "processes"):
        if options[flag] is not None and options[flag] < 1:
            raise BadArgument(f"--{flag} is {options[flag]}", hint="give 1 or more")
    samples, videos = read_questions(options, with_videos=True)
    with progress_bar() as show, ExitStack() as opened:
        model = load_model(options, show)

        def look_of(setting: Setting) -> Look:
            if setting.method is None:
                return full_look(model) if setting.frames else Look(budget=None)
            budget = Budget(total_tokens=setting.budget or 1, num_frames=setting.frames)
            method, changed = setting.title.partition("(")[0], setting.method.changed()
            return Look(budget=budget, method=method, options=changed)

        journals = {
            setting.key: opened.enter_context(
                open_journal(
                    os.path.join(options["out"], setting.key),
                    describe_run(options, samples, look_of(setting), model),
                )
            )
            for setting in settings
        }
        if videos is None:
            raise AssertionError("videos were asked for")
        work = GridWork(
            samples=samples,
            videos=videos,
            settings=settings,
            decoding=decoding_of(options),
            processes=options["processes"] or usual_processes(),
        )
        answerer = Answerer(model=model, max_new_tokens=options["max_new_tokens"], batch_questions=options["batch"])
        run_grid(work, answerer, journals, show)


def _print(found: Found, show: Callable[..., None]) -> None:
    from eval.reporting.texts import interval

    for cell in found.cells:
        if cell.num_failed:
            print_message(
                "warning", f"{cell.setting.key}: {cell.num_failed:,} questions have no answer, and count as wrong"
            )
    budgets = list(dict.fromkeys(cell.setting.budget for cell in found.cells if cell.setting.budget))
    for budget in budgets:
        cells = [cell for cell in found.cells if cell.setting.budget in (None, budget)]
        frames = sorted({cell.setting.frames for cell in cells if cell.setting.method is not None})
        print_line(f"{budget:,} visual tokens in all; exact match in percent, 95 % intervals clustered by video\n")
        show(_rows(cells, frames, lambda cell: interval(cell.accuracy)), ("method", *_headed(frames)))
        if any(cell.kept for cell in cells):
            print_line("\nkept of what 8 full frames bring above no video, in percent\n")
            ours = [cell for cell in cells if cell.setting.method is not None]
            show(
                _rows(ours, frames, lambda cell: interval(cell.kept) if cell.kept else ""), ("method", *_headed(frames))
            )
        same = [one for one in found.at_same_frames if one.setting.budget == budget]
        if same:
            print_line("\nless the baseline at the same frames, question by question, in points\n")
            show(_differences(same, frames), ("method", *_headed(frames)))
        tops = [one for one in found.at_best if one.setting.budget == budget]
        if tops:
            print_line("\nat its best frame count, less the baseline at its own\n")
            lines = [
                (
                    one.setting.title,
                    str(one.setting.frames),
                    f"{one.against.title}, {one.against.frames}",
                    interval(one.estimate, sign=True),
                )
                for one in tops
            ]
            show(lines, ("method", "its frames", "baseline, frames", "difference"))


def _headed(frames: Sequence[int]) -> list[str]:
    return [f"{count} frames" for count in frames]


def _rows(cells: Sequence[Cell], frames: Sequence[int], shown: Callable[[Cell], str]) -> list[list[str]]:
    """A line a method, a column a frame count; what sees other frames has its value first."""
    lines = []
    for title in dict.fromkeys(cell.setting.title for cell in cells):
        mine = [cell for cell in cells if cell.setting.title == title]
        if mine[0].setting.method is None:
            lines.append([title, shown(mine[0]), *("" for _ in frames[1:])])
        else:
            at = {cell.setting.frames: shown(cell) for cell in mine}
            lines.append([title, *(at.get(count, "") for count in frames)])
    return lines


def _differences(some: Sequence[Difference], frames: Sequence[int]) -> list[list[str]]:
    from eval.reporting.texts import interval

    lines = []
    for title in dict.fromkeys(one.setting.title for one in some):
        at = {one.setting.frames: interval(one.estimate, sign=True) for one in some if one.setting.title == title}
        lines.append([title, *(at.get(count, "") for count in frames)])
    return lines
