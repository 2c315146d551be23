"""``vidzip compare``."""

from __future__ import annotations

import json

import click

from pipelines.options import output_options
from pipelines.scoring.judging import JudgeSettings
from pipelines.scoring.options import takes_replay

METRICS = ("exact-match", "answer-contained", "judge-accuracy", "judge-score")
"""Those of :data:`eval.scoring.RANGES`, which loads slowly."""


@click.command(name="compare")
@click.argument("first", metavar="RUN_A", type=click.Path())
@click.argument("second", metavar="RUN_B", type=click.Path())
@click.option("--metric", type=click.Choice(METRICS), default="exact-match", show_default=True)
@takes_replay
@click.option("--strict", is_flag=True, help="Count questions without a score as wrong.  [default: leave them out]")
@click.option("--intersection", is_flag=True, help="Compare on the questions that both runs have.")
@click.option(
    "--show", "limit", type=click.IntRange(min=0), metavar="N", default=10, show_default=True, help="Questions listed."
)
@output_options
def command(
    *,
    first: str,
    second: str,
    metric: str,
    judge: JudgeSettings,
    strict: bool,
    intersection: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Compare two runs of the same questions, question by question.

    A judge is not asked again: kept replies are used.
    """
    from pipelines.scoring.printing import print_comparison
    from pipelines.scoring.scoring import compare_folders

    comparison = compare_folders(
        first,
        second,
        metric.replace("-", " "),
        judge,
        is_strict=strict,
        allow_different_questions=intersection,
    )
    if as_json:
        click.echo(json.dumps(comparison.to_json()))
    else:
        print_comparison(comparison, limit)
