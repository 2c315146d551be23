"""What a judge will cost, told before it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eval.judging.asking import missing, triples
from eval.judging.judge import Judge
from eval.judging.replies import ReplyStore
from eval.results import QuestionResult

CHARACTERS_PER_TOKEN = 4
"""Of English; other languages take more tokens than estimated."""

REPLY_TOKENS = 16
"""Of a reply as it was asked for, such as ``{"pred": "yes", "score": 4}``; a chatty judge takes more."""

OVERHEAD_TOKENS = 12
"""What a chat's two messages cost besides their text."""

PRICES_OF = "November 2026"
PRICES = {
    "gpt-4.1-2025-04-14": (2.00, 8.00),
    "gpt-4.1-mini-2025-04-14": (0.40, 1.60),
    "gpt-4o-2024-08-06": (2.50, 10.00),
    "gpt-4o-mini-2024-07-18": (0.15, 0.60),
    "gpt-5.4-mini-2026-03-17": (0.75, 4.50),
    "gpt-6-luna": (0.10, 0.50),
}
"""Dollars for a million tokens in, and out, at :data:`eval.judging.judge.HOSTED_URL`. Prices go stale: they are those
of :data:`PRICES_OF`, without discounts for batches or repeated beginnings."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is still to be asked, and about what it costs.

    Attributes:
        num_prompts: requests, if none has to be repeated.
        num_answers: answers to judge in all, equal ones counted each.
        input_tokens: about.
        output_tokens: about; none for what a model thinks before it replies.
        dollars: about; None where the price is not known.
    """

    num_prompts: int
    num_answers: int
    input_tokens: int
    output_tokens: int
    dollars: float | None


def estimate_cost(
    questions: Sequence[QuestionResult], judge: Judge, kept: ReplyStore, price: tuple[float, float] | None = None
) -> Estimate:
    """Estimate what :func:`eval.judging.judge_answers` would cost.

    Args:
        questions: as they would be asked.
        judge: whom.
        kept: replies that are there already.
        price: dollars for a million tokens in, and out; None looks it up, where the judge is asked at OpenAI's own.

    Raises:
        ValueError: a price that is negative or no number.
    """
    if price is None:
        price = PRICES.get(judge.model) if judge.base_url is None else None
    elif not all(0 <= one < float("inf") for one in price):
        raise ValueError(f"prices are {price}; give two numbers from 0 on")
    todo = missing(questions, judge.fingerprint, kept)
    characters = sum(len(message["content"]) for triple in todo for message in judge.request(*triple)["messages"])
    input_tokens = round(characters / CHARACTERS_PER_TOKEN) + OVERHEAD_TOKENS * len(todo)
    output_tokens = REPLY_TOKENS * len(todo)
    return Estimate(
        num_prompts=len(todo),
        num_answers=sum(1 for _ in triples(questions)),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        dollars=None if price is None else (input_tokens * price[0] + output_tokens * price[1]) / 1e6,
    )
