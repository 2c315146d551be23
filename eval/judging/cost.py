"""An estimate of what a judge will cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eval.judging.asking import pending_prompts, prompts
from eval.judging.judge import Judge
from eval.judging.replies import ReplyStore
from eval.results import QuestionResult

CHARACTERS_PER_TOKEN = 4
"""For English; other languages take more tokens than estimated."""

REPLY_TOKENS = 16
"""Tokens of a reply in the requested form, such as ``{"pred": "yes", "score": 4}``; a wordy judge takes more."""

OVERHEAD_TOKENS = 12
"""Tokens of a chat's two messages besides their text."""

PRICES_OF = "November 2026"
PRICES = {
    "gpt-4.1-2025-04-14": (2.00, 8.00),
    "gpt-4.1-mini-2025-04-14": (0.40, 1.60),
    "gpt-4o-2024-08-06": (2.50, 10.00),
    "gpt-4o-mini-2024-07-18": (0.15, 0.60),
    "gpt-5.4-mini-2026-03-17": (0.75, 4.50),
    "gpt-6-luna": (0.10, 0.50),
}
"""Dollars per million input and output tokens at :data:`eval.judging.judge.HOSTED_URL`, as of :data:`PRICES_OF`, without
discounts for batches or cached prefixes."""


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """The pending requests of a judge, and roughly what they cost.

    Attributes:
        num_prompts: requests, if none has to be repeated.
        num_answers: answers to judge, including equal ones.
        input_tokens: approximate.
        output_tokens: approximate, without the tokens of a model's reasoning.
        dollars: approximate; None if the price is unknown.
    """

    num_prompts: int
    num_answers: int
    input_tokens: int
    output_tokens: int
    dollars: float | None


def estimate_cost(
    results: Sequence[QuestionResult], judge: Judge, replies: ReplyStore, price: tuple[float, float] | None = None
) -> CostEstimate:
    """Estimate the cost of :func:`eval.judging.judge_answers`.

    Args:
        price: dollars per million input and output tokens; None looks it up for OpenAI's own server.

    Raises:
        ValueError: a price is negative or not a number.
    """
    if price is None:
        price = PRICES.get(judge.model) if judge.base_url is None else None
    elif not all(0 <= one < float("inf") for one in price):
        raise ValueError(f"the prices are {price}; give two numbers of 0 or more")
    pending = pending_prompts(results, judge.fingerprint, replies)
    characters = sum(len(message["content"]) for prompt in pending for message in judge.request(*prompt)["messages"])
    input_tokens = round(characters / CHARACTERS_PER_TOKEN) + OVERHEAD_TOKENS * len(pending)
    output_tokens = REPLY_TOKENS * len(pending)
    return CostEstimate(
        num_prompts=len(pending),
        num_answers=len(prompts(results)),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        dollars=None if price is None else (input_tokens * price[0] + output_tokens * price[1]) / 1e6,
    )
