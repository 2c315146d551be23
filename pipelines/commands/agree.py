"""``vidzip agree``."""

from __future__ import annotations

import json

import click

from pipelines.options import output_options
from pipelines.scoring.judging import REPLIES


@click.command(name="agree")
@click.argument("folder", metavar="RUN", type=click.Path())
@click.option(
    "--judges",
    metavar="A B",
    nargs=2,
    required=True,
    help="Models or fingerprints whose replies are kept; one may be exact-match.",
)
@click.option(
    "--judge-replay", metavar="FILE", type=click.Path(), help=f"File of kept replies.  [default: RUN/{REPLIES}]"
)
@click.option(
    "--show", "limit", type=click.IntRange(min=0), metavar="N", default=10, show_default=True, help="Answers listed."
)
@output_options
def command(*, folder: str, judges: tuple[str, str], judge_replay: str | None, limit: int, as_json: bool) -> None:
    """Measure the agreement between two judges on a run's answers, or a judge and exact match."""
    from pipelines.scoring.printing import print_agreement
    from pipelines.scoring.scoring import compare_judges

    agreement = compare_judges(folder, judges, judge_replay)
    if as_json:
        click.echo(json.dumps(agreement.to_json()))
    else:
        print_agreement(agreement, limit)
