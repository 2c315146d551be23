"""Command-line options of judges."""

from __future__ import annotations

import sys

import click

from eval.judging import DEFAULT_MODEL
from pipelines.options import collect
from pipelines.scoring.judging import DEFAULT, KEY_VARIABLE, REPLIES, JudgeSettings
from pipelines.terminal import print_message
from vidzip.errors import BadArgument, VidzipError


class CostRefused(VidzipError):
    """The user did not agree to the cost of a judge."""


takes_judge = collect(
    "judge",
    JudgeSettings,
    {
        "judge": "model",
        "judge_url": "url",
        "judge_replay": "replay",
        "judge_replies": "replies",
        "judge_concurrency": "concurrency",
        "judge_timeout": "timeout_seconds",
        "judge_reasoning": "reasoning_effort",
        "judge_key_env": "key_variable",
        "judge_price": "price",
    },
    click.option(
        "--judge",
        metavar="MODEL",
        help=f"Ask this model whether answers are right; '{DEFAULT}' is the pinned {DEFAULT_MODEL}.",
    ),
    click.option(
        "--judge-url",
        metavar="URL",
        help="Its OpenAI-compatible server: http://localhost:8000/v1.  [default: OpenAI's]",
    ),
    click.option(
        "--judge-replay", metavar="FILE", type=click.Path(), help="Judge from kept replies, without asking anyone."
    ),
    click.option(
        "--judge-replies",
        metavar="FILE",
        type=click.Path(),
        help=f"File that keeps replies; none is asked for twice.  [default: RUN/{REPLIES}]",
    ),
    click.option(
        "--judge-concurrency",
        type=int,
        metavar="N",
        default=JudgeSettings.concurrency,
        show_default=True,
        help="Number of simultaneous requests.",
    ),
    click.option(
        "--judge-timeout",
        type=float,
        metavar="SECONDS",
        default=JudgeSettings.timeout_seconds,
        show_default=True,
        help="Limit on one request.",
    ),
    click.option("--judge-reasoning", metavar="EFFORT", help="Reasoning effort, for models that reason: none, low, …"),
    click.option(
        "--judge-key-env",
        metavar="NAME",
        help=f"Environment variable that holds the key.  [default: {KEY_VARIABLE}; none for a local server]",
    ),
    click.option(
        "--judge-price",
        type=(float, float),
        metavar="IN OUT",
        help="Dollars per million tokens, for the estimate, if the model's price is unknown or outdated.",
    ),
)
takes_replay = collect(
    "judge",
    JudgeSettings,
    {"judge": "model", "judge_replay": "replay"},
    click.option("--judge", metavar="NAME", help="Model or fingerprint, if replies of several judges are kept."),
    click.option(
        "--judge-replay", metavar="FILE", type=click.Path(), help=f"File of kept replies.  [default: RUN/{REPLIES}]"
    ),
)
yes_option = click.option("--yes", is_flag=True, help="Accept the judge's cost without being asked.")


def confirm_cost(cost: str, *, yes: bool) -> None:
    """Print what a judge would cost, and ask whether to go ahead.

    Raises:
        BadArgument: there is no terminal to ask on.
        CostRefused: the user said no.
    """
    print_message("note", cost)
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise BadArgument("there is no terminal to confirm the judge's cost on", hint="give --yes")
    if not click.confirm("Ask the judge?", err=True):
        raise CostRefused("the judge was not asked", hint="scores without --judge cost nothing")
