"""A judge on the command line: what it would cost, whether to ask it, its key, its replies."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import click

from eval.judging import (
    DEFAULT_MODEL,
    PRICES_OF,
    CostEstimate,
    Judge,
    JudgeError,
    JudgeUnreachable,
    ReplyStore,
    estimate_cost,
    judge_answers,
    open_replies,
    read_replies,
    replay,
)
from eval.results import Run
from eval.scoring import Judgements
from pipelines.options import together
from pipelines.terminal import Progress, print_message, progress_bar
from vidzip.errors import BadArgument, SystemFault, VidzipError

REPLIES = "judge.jsonl"
"""Where a run's folder keeps what judges replied."""

KEY_VARIABLE = "OPENAI_API_KEY"

DEFAULT = "default"
"""What stands for the pinned model."""

judge_options = together(
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
        help=f"Where replies are kept; none is asked for twice.  [default: RUN/{REPLIES}]",
    ),
    click.option(
        "--judge-concurrency", type=int, metavar="N", default=8, show_default=True, help="Requests at a time."
    ),
    click.option(
        "--judge-timeout",
        type=float,
        metavar="SECONDS",
        default=60.0,
        show_default=True,
        help="How long one request may take.",
    ),
    click.option("--judge-reasoning", metavar="EFFORT", help="How long the model thinks, where it can: none, low, …"),
    click.option(
        "--judge-key-env",
        metavar="NAME",
        help=f"Environment variable that holds the key.  [default: {KEY_VARIABLE}; none for a server on this machine]",
    ),
    click.option(
        "--judge-price",
        type=(float, float),
        metavar="IN OUT",
        help="Dollars for a million tokens, for the estimate, where the model's price is not known or old.",
    ),
    click.option("--yes", is_flag=True, help="Do not ask whether the judge may cost that."),
)
"""Options of a command that judges; :func:`judged` takes them."""

_NEED_A_JUDGE = ("judge_url", "judge_replies", "judge_reasoning", "judge_key_env", "judge_price")


class BadJudge(VidzipError):
    """A judge that cannot be asked, or a file that holds no replies of it."""


class JudgeLost(SystemFault):
    """A judge that does not reply."""


class NotAsked(VidzipError):
    """Nobody agreed to what a judge costs."""


def judged(run: Run, folder: str, options: Mapping[str, Any], show: Progress | None = None) -> Judgements | None:
    """Have a run's answers judged, as the command line asks for.

    What a judge would cost is told first, and agreed to. Where nothing is left to be asked, nobody is asked anything.

    Args:
        run: its questions; those without a prediction get no judgement.
        folder: the run's, where replies are kept unless another file is named.
        options: what :data:`judge_options` gives.
        show: told how far it is; None shows a bar of its own, after the question. A bar that is being drawn already
            would draw over the question.

    Returns:
        The judge and its judgements; None without a judge.

    Raises:
        BadArgument: options that do not go together, or no terminal to agree on.
        BadJudge: no key, no such model or server, or a file of other things.
        JudgeLost: the judge does not reply.
        NotAsked: its cost was not agreed to.
    """
    named = options["judge"] is not None
    replayed = options["judge_replay"] is not None
    if not named or replayed:
        _check_unused(options, "--judge-replay" if replayed else None)
    if not named and not replayed:
        return None
    try:
        if replayed:
            return _replayed(run, str(options["judge_replay"]), options["judge"])
        return _asked(run, folder, options, show)
    except JudgeUnreachable as error:
        raise JudgeLost(error.message, hint=error.hint) from None
    except JudgeError as error:
        raise BadJudge(error.message, hint=error.hint) from None


def _replayed(run: Run, path: str, name: str | None) -> Judgements:
    if not os.path.isfile(path):
        raise BadJudge(f"{path!r} is no file of kept replies", hint="name one that --judge-replies has written")
    replies = read_replies(path)
    fingerprint = replies.choose(name)
    described = replies.judges[fingerprint]
    _warn_of_others(replies, described)
    return Judgements(judge=described, by_id=replay(run.results, fingerprint, replies))


def _asked(run: Run, folder: str, options: Mapping[str, Any], show: Progress | None) -> Judgements:
    model = DEFAULT_MODEL if options["judge"] == DEFAULT else options["judge"]
    judge = Judge(model=model, base_url=options["judge_url"], reasoning_effort=options["judge_reasoning"])
    if options["judge_concurrency"] < 1:
        raise BadArgument(f"--judge-concurrency is {options['judge_concurrency']}", hint="give 1 or more")
    if not options["judge_timeout"] > 0:
        raise BadArgument(f"--judge-timeout is {options['judge_timeout']}", hint="give more than 0 seconds")
    path = options["judge_replies"] or os.path.join(folder, REPLIES)
    replies = read_replies(path)
    estimate = _estimate(run, judge, replies, options["judge_price"])
    if not estimate.num_prompts:
        judgements = asyncio.run(judge_answers(run.results, judge, replies))
    else:
        api_key = _key(judge, options["judge_key_env"])
        _agree(_told(judge, estimate, is_own_price=options["judge_price"] is not None), yes=options["yes"])
        with open_replies(path) as replies, progress_bar() if show is None else nullcontext(show) as shown:
            asking = judge_answers(
                run.results,
                judge,
                replies,
                concurrency=options["judge_concurrency"],
                timeout_seconds=options["judge_timeout"],
                api_key=api_key,
                on_progress=lambda done, total: shown(f"ask {judge.model}", done, total),
            )
            try:
                judgements = asyncio.run(asking)
            except KeyboardInterrupt:
                print_message("note", f"what was replied is kept in {path}; the same command goes on")
                raise
    described = judge.describe()
    _warn_of_others(replies, described)
    return Judgements(judge=described, by_id=judgements)


def _check_unused(options: Mapping[str, Any], instead: str | None) -> None:
    unused = [name for name in _NEED_A_JUDGE if options[name] is not None]
    if unused:
        flag = "--" + unused[0].replace("_", "-")
        raise BadArgument(
            f"{flag} comes {f'with {instead}, which asks nobody' if instead else 'without a judge'}",
            hint=f"leave {flag} away" if instead else "name one with --judge",
        )


def _estimate(run: Run, judge: Judge, replies: ReplyStore, price: tuple[float, float] | None) -> CostEstimate:
    try:
        return estimate_cost(run.results, judge, replies, price)
    except ValueError as error:
        raise BadArgument(str(error), hint="such as --judge-price 0.15 0.60") from error


def _key(judge: Judge, variable: str | None) -> str | None:
    """Take the key from the environment. A server on this machine gets one only where its variable is named."""
    if variable is None and judge.is_local:
        return None
    name = variable or KEY_VARIABLE
    key = os.environ.get(name, "").strip()
    if not key:
        raise BadJudge(
            f"the environment variable {name} holds no key", hint="set it, or name another with --judge-key-env"
        )
    return key


def _agree(told: str, *, yes: bool) -> None:
    """Tell what the judge would cost, and ask whether it may."""
    print_message("note", told)
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise BadArgument("nobody is there to agree to what the judge costs", hint="give --yes")
    if not click.confirm("Ask the judge?", err=True):
        raise NotAsked("the judge was not asked", hint="without --judge, there are scores that cost nothing")


def _told(judge: Judge, estimate: CostEstimate, *, is_own_price: bool) -> str:
    if estimate.dollars is None:
        price = "at a price not known here (--judge-price)"
    else:
        price = f"about ${estimate.dollars:,.2f}" + ("" if is_own_price else f" at prices of {PRICES_OF}")
    kept = estimate.num_answers - estimate.num_prompts
    others = f" ({kept:,} more are kept, or equal)" if kept else ""
    return (
        f"{judge.model} would be asked about {estimate.num_prompts:,} answers{others}: about "
        f"{_short(estimate.input_tokens)} tokens in and {_short(estimate.output_tokens)} out, {price}"
    )


def _short(count: int) -> str:
    return f"{count / 1e6:,.1f} million" if count >= 1e6 else f"{count:,}"


def _warn_of_others(replies: ReplyStore, described: Mapping[str, Any]) -> None:
    """Warn where another model replied than was asked. transformers serve adds the revision to a name."""
    asked = str(described["model"])
    others = sorted(replies.models(str(described["fingerprint"])) - {asked, f"{asked}@main", ""})
    if others:
        print_message(
            "warning",
            f"{asked} was asked, and {', '.join(others)} replied: name the one that is meant, or scores will drift",
        )
