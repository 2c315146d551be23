"""From a prediction and the right answer to a score, without a judge."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

_ARTICLES = frozenset({"a", "an", "the"})
_APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"


@dataclass(frozen=True, kw_only=True)
class Score:
    """What an answer is worth; failed is not wrong.

    Attributes:
        value: 0 for a wrong answer, 1 for a right one, or what the metric's range says; None where none could be given.
        reason: why there is no value; empty where there is one.

    Raises:
        ValueError: a value that is no finite number, or neither a value nor a reason.
    """

    value: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError("a score without a value needs a reason; say why there is none")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"a score is {self.value}; give a finite number, or None with a reason")


def exact_match(prediction: str | None, answer: str) -> Score:
    """Give 1 where prediction and answer are the same once normalised, else 0.

    No prediction, or an answer of which nothing is left, gives no value; an empty prediction is wrong.
    """
    if prediction is None:
        return Score(value=None, reason="there is no prediction")
    wanted = normalise(answer)
    if not wanted:
        return Score(value=None, reason=f"nothing is left of the answer {answer!r} once normalised")
    return Score(value=float(normalise(prediction) == wanted))


def normalise(text: str) -> str:
    """Bring a short answer into the form in which answers are compared.

    In this order: Unicode's NFKC, lower case; apostrophes go, every other character that is no letter, mark or digit
    becomes a space; the words *a*, *an* and *the* go, unless nothing else is there; words are joined by one space.
    Numbers in words and in digits stay different, and so do singular and plural.
    """
    plain = unicodedata.normalize("NFKC", text).lower()
    spaced = "".join(
        char if unicodedata.category(char)[0] in "LMN" else " " for char in plain if char not in _APOSTROPHES
    )
    words = spaced.split()
    return " ".join([word for word in words if word not in _ARTICLES] or words)
