"""``vidzip score``."""

from __future__ import annotations

import json
from functools import partial

import click

from pipelines.options import output_options
from pipelines.scoring.judging import JudgeSettings
from pipelines.scoring.options import confirm_cost, takes_judge, yes_option
from pipelines.terminal import print_line
from vidzip.errors import BadArgument


@click.command(name="score")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path())
@click.option("--uncompressed", metavar="RUN", type=click.Path(), help="Run with uncompressed video, for retention.")
@click.option("--no-video", metavar="RUN", type=click.Path(), help="Run without video, for retention.")
@click.option("--unfinished", is_flag=True, help="Accept unfinished runs; questions not asked yet count as failed.")
@click.option(
    "--intervals",
    type=click.Choice(["wilson", "bootstrap"]),
    default="wilson",
    show_default=True,
    help="Intervals by formula, or by a bootstrap over videos.",
)
@takes_judge
@yes_option
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@output_options
def command(
    *,
    runs: tuple[str, ...],
    uncompressed: str | None,
    no_video: str | None,
    unfinished: bool,
    intervals: str,
    judge: JudgeSettings,
    yes: bool,
    markdown: bool,
    as_json: bool,
) -> None:
    """Score runs of 'vidzip eval', and write scores.json into their folders.

    Scores are exact match and contained answer; --judge asks a judge, --judge-replay uses kept replies. Intervals are
    clustered by video.
    """
    from pipelines.scoring.printing import print_scores
    from pipelines.scoring.scoring import ScoreSettings, score_folders

    if as_json and markdown:
        raise BadArgument("--json and --markdown exclude each other", hint="give one of them")
    settings = ScoreSettings(
        judge=judge,
        uncompressed=uncompressed,
        no_video=no_video,
        intervals=intervals,
        allow_unfinished=unfinished,
    )
    for place, scores in enumerate(score_folders(runs, settings, partial(confirm_cost, yes=yes))):
        if as_json:
            click.echo(json.dumps(scores.to_json()))
            continue
        if place:
            print_line()
        print_scores(scores, is_markdown=markdown)
