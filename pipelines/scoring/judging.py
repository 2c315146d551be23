"""Judging a run: its cost, consent to it, the key, and kept replies."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from eval.judging import (
    DEFAULT_MODEL,
    PRICES_OF,
    CostEstimate,
    Judge,
    JudgeError,
    ReplyStore,
    estimate_cost,
    judge_answers,
    open_replies,
    read_replies,
    replay,
)
from eval.results import Run
from eval.scoring import Judgements
from pipelines.terminal import Progress, print_message, progress_bar
from vidzip.errors import BadArgument

REPLIES = "judge.jsonl"
"""Name of the file of kept replies in a run's folder."""

KEY_VARIABLE = "OPENAI_API_KEY"

DEFAULT = "default"
"""Stands for the pinned model, :data:`eval.judging.DEFAULT_MODEL`."""


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """Which judge judges a run, and how it is reached.

    Attributes:
        model: model to ask, or :data:`DEFAULT`; with ``replay``, the model or fingerprint of a judge in the file. None
            without ``replay`` means no judge.
        url: URL of an OpenAI-compatible server; OpenAI's own when None.
        replay: file of kept replies to judge from, without asking anyone.
        replies: file that keeps replies, so that none is asked for twice; :data:`REPLIES` in the run's folder when None.
        concurrency: number of simultaneous requests.
        timeout_seconds: limit on one request.
        reasoning_effort: for models that reason, such as ``"none"`` or ``"low"``.
        key_variable: environment variable that holds the key; when None, :data:`KEY_VARIABLE`, or no key for a local
            server.
        price: dollars per million input and output tokens, for the estimate; known models' own when None.

    Raises:
        BadArgument: settings of a judge without a judge to ask, or a number out of range.
    """

    model: str | None = None
    url: str | None = None
    replay: str | None = None
    replies: str | None = None
    concurrency: int = 8
    timeout_seconds: float = 60.0
    reasoning_effort: str | None = None
    key_variable: str | None = None
    price: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.model is None or self.replay is not None:
            unused = {
                "--judge-url": self.url,
                "--judge-replies": self.replies,
                "--judge-reasoning": self.reasoning_effort,
                "--judge-key-env": self.key_variable,
                "--judge-price": self.price,
            }
            for flag, value in unused.items():
                if value is not None and self.replay is not None:
                    raise BadArgument(f"{flag} has no effect with --judge-replay, which asks nobody", hint="remove it")
                if value is not None:
                    raise BadArgument(f"{flag} has no effect without a judge", hint="name one with --judge")
        if self.concurrency < 1:
            raise BadArgument(f"the judge's concurrency is {self.concurrency}", hint="give 1 or more")
        if not self.timeout_seconds > 0:
            raise BadArgument(f"the judge's timeout is {self.timeout_seconds}", hint="give more than 0 seconds")


def judge_run(
    run: Run,
    folder: str,
    settings: JudgeSettings,
    confirm_cost: Callable[[str], None],
    progress: Progress | None = None,
) -> Judgements | None:
    """Judge a run's answers.

    If no answer is pending, nobody is asked anything, and nothing is confirmed.

    Args:
        run: the run; questions without a prediction get no judgement.
        folder: the run's folder, where replies are kept by default.
        settings: the judge.
        confirm_cost: receives a description of the cost before the judge is asked; raises an error to prevent it.
        progress: receives the progress. When None, a bar of its own is shown after the confirmation, which another bar
            would overwrite.

    Returns:
        The judgements; None without a judge.

    Raises:
        BadArgument: the prices are invalid.
        JudgeError: the key, the model or the server is wrong, a file does not hold replies, or the judge does not reply
            (``JudgeUnreachable``).
    """
    if settings.replay is not None:
        return replay_judge(run, settings.replay, settings.model)
    if settings.model is None:
        return None
    model = DEFAULT_MODEL if settings.model == DEFAULT else settings.model
    judge = Judge(model=model, base_url=settings.url, reasoning_effort=settings.reasoning_effort)
    path = settings.replies or os.path.join(folder, REPLIES)
    replies = read_replies(path)
    estimate = _estimate(run, judge, replies, settings.price)
    if not estimate.num_prompts:
        judgements = asyncio.run(judge_answers(run.results, judge, replies))
    else:
        api_key = _read_key(judge, settings.key_variable)
        confirm_cost(_describe_cost(judge, estimate, is_own_price=settings.price is not None))
        with open_replies(path) as replies, progress_bar() if progress is None else nullcontext(progress) as show:
            asking = judge_answers(
                run.results,
                judge,
                replies,
                concurrency=settings.concurrency,
                timeout_seconds=settings.timeout_seconds,
                api_key=api_key,
                on_progress=lambda done, total: show(f"ask {judge.model}", done, total),
            )
            try:
                judgements = asyncio.run(asking)
            except KeyboardInterrupt:
                print_message("note", f"the replies so far are kept in {path}; the same command resumes")
                raise
    _warn_of_other_models(replies, judge.describe())
    return Judgements(judge=judge.describe(), by_id=judgements)


def replay_judge(run: Run, path: str, name: str | None = None) -> Judgements:
    """Judge a run from kept replies only; a file with several judges needs a model or fingerprint as name.

    Raises:
        JudgeError: there is no such file or judge, or there are several judges.
    """
    if not os.path.isfile(path):
        raise JudgeError(f"{path!r} is not a file of kept replies", hint="give one that --judge-replies has written")
    replies = read_replies(path)
    fingerprint = replies.choose(name)
    _warn_of_other_models(replies, replies.judges[fingerprint])
    return Judgements(judge=replies.judges[fingerprint], by_id=replay(run.results, fingerprint, replies))


def _estimate(run: Run, judge: Judge, replies: ReplyStore, price: tuple[float, float] | None) -> CostEstimate:
    try:
        return estimate_cost(run.results, judge, replies, price)
    except ValueError as error:
        raise BadArgument(str(error), hint="for example --judge-price 0.15 0.60") from error


def _read_key(judge: Judge, variable: str | None) -> str | None:
    """Read the key from the environment. A local server gets one only if its variable is named."""
    if variable is None and judge.is_local:
        return None
    name = variable or KEY_VARIABLE
    key = os.environ.get(name, "").strip()
    if not key:
        raise JudgeError(
            f"the environment variable {name} holds no key", hint="set it, or name another with --judge-key-env"
        )
    return key


def _describe_cost(judge: Judge, estimate: CostEstimate, *, is_own_price: bool) -> str:
    if estimate.dollars is None:
        price = "at an unknown price (--judge-price)"
    else:
        price = f"about ${estimate.dollars:,.2f}" + ("" if is_own_price else f" at the prices of {PRICES_OF}")
    num_known = estimate.num_answers - estimate.num_prompts
    known = f" ({num_known:,} more have kept replies or are equal)" if num_known else ""
    return (
        f"{judge.model} would be asked about {estimate.num_prompts:,} answers{known}: about "
        f"{_short(estimate.input_tokens)} input and {_short(estimate.output_tokens)} output tokens, {price}"
    )


def _short(count: int) -> str:
    return f"{count / 1e6:,.1f} million" if count >= 1e6 else f"{count:,}"


def _warn_of_other_models(replies: ReplyStore, judge: Mapping[str, Any]) -> None:
    """Warn if a model replied that was not asked. transformers serve appends the revision to a name."""
    model = str(judge["model"])
    others = sorted(replies.models(str(judge["fingerprint"])) - {model, f"{model}@main", ""})
    if others:
        print_message(
            "warning",
            f"{model} was asked, and {', '.join(others)} replied: name that model, or scores will not be comparable",
        )
