"""Scores of predictions that need no judge."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

_ARTICLES = frozenset({"a", "an", "the"})
_APOSTROPHES = dict.fromkeys(map(ord, "'\N{RIGHT SINGLE QUOTATION MARK}"))
_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)}
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_POINTS = re.compile(r"(?<!\d)\.|\.(?!\d)")

NO_PREDICTION = "no prediction"
EMPTY_ANSWER = "the answer is empty after normalisation"


@dataclass(frozen=True, kw_only=True)
class Score:
    """A question's score. A failed question has no value, which is not the same as a wrong answer.

    Attributes:
        value: 0 for a wrong answer, 1 for a right one, or another value in the metric's range; None if there is none.
        reason: why there is no value; empty if there is one.

    Raises:
        ValueError: the value is not finite, or there is neither value nor reason.
    """

    value: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.value is None and not self.reason:
            raise ValueError("a score without a value needs a reason")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"the score is {self.value}; give a finite number, or None with a reason")


def exact_match(prediction: str | None, answer: str) -> Score:
    """Score 1 if prediction and answer are equal after normalisation, else 0.

    There is no score without a prediction, or if the answer is empty after normalisation; an empty prediction is wrong.
    """
    return match(prediction, answer)[0]


def contains_answer(prediction: str | None, answer: str) -> Score:
    """Score 1 if the normalised prediction contains the words of the normalised answer in a row, else 0.

    It accepts whole sentences, but also "not red" for "red": it is at least exact match, and often too high. It has no
    value in the same cases as :func:`exact_match`.
    """
    return match(prediction, answer)[1]


def match(prediction: str | None, answer: str) -> tuple[Score, Score]:
    """Compute :func:`exact_match` and :func:`contains_answer` together, in half the time."""
    if prediction is None:
        return _NO_PREDICTION, _NO_PREDICTION
    right = normalise(answer)
    if not right:
        return _EMPTY_ANSWER, _EMPTY_ANSWER
    given = normalise(prediction)
    return _SCORES[given == right], _SCORES[f" {right} " in f" {given} "]


_NO_PREDICTION, _EMPTY_ANSWER = Score(value=None, reason=NO_PREDICTION), Score(value=None, reason=EMPTY_ANSWER)
_SCORES = {False: Score(value=0.0), True: Score(value=1.0)}


def normalise(text: str) -> str:
    """Normalise a short answer for comparison.

    In this order: Unicode NFKC and lower case; apostrophes and commas between thousands are removed; a full stop between
    digits is kept, and every other character that is not a letter, mark or digit becomes a space; the words *a*, *an*
    and *the* are removed, unless nothing else is left; *zero* to *twenty* become digits; words are joined by one space.
    Singular and plural stay different.
    """
    return _normalise_cached(text) if len(text) <= _MAX_CACHED else _normalise(text)


def _normalise(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).lower().translate(_APOSTROPHES)
    joined = _THOUSANDS.sub("", unicodedata.normalize("NFKC", plain))
    words = _POINTS.sub(" ", joined.translate(_SPACED)).split()
    return " ".join([_DIGITS.get(word, word) for word in words if word not in _ARTICLES] or words)


_MAX_CACHED = 50
"""Limit on the characters of a cached text: short texts occur many times in a set, and take little memory."""

_normalise_cached = lru_cache(maxsize=50_000)(_normalise)


class _Spaced(dict[int, int]):
    """Maps characters that are not letters, marks, digits or full stops to a space; filled on first use."""

    def __missing__(self, code: int) -> int:
        char = chr(code)
        self[code] = code if char == "." or unicodedata.category(char)[0] in "LMN" else ord(" ")
        return self[code]


_SPACED = _Spaced()
