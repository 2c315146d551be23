"""From a prediction and the right answer to a score, without a judge."""

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

NO_PREDICTION = "there is no prediction"
NOTHING_LEFT = "nothing is left of the answer once normalised"


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
    return match(prediction, answer)[0]


def contains_answer(prediction: str | None, answer: str) -> Score:
    """Give 1 where the normalised answer's words stand in the normalised prediction's, side by side, else 0.

    It forgives whole sentences, and with them "not red" for "red": it is no less than exact match, and often too much.
    Where there is no value, it is as for :func:`exact_match`.
    """
    return match(prediction, answer)[1]


def match(prediction: str | None, answer: str) -> tuple[Score, Score]:
    """Give what :func:`exact_match` and :func:`contains_answer` do, in half the time."""
    if prediction is None:
        return _UNPREDICTED, _UNPREDICTED
    wanted = normalise(answer)
    if not wanted:
        return _UNANSWERED, _UNANSWERED
    given = normalise(prediction)
    return _WORTH[given == wanted], _WORTH[f" {wanted} " in f" {given} "]


_UNPREDICTED, _UNANSWERED = Score(value=None, reason=NO_PREDICTION), Score(value=None, reason=NOTHING_LEFT)
_WORTH = {False: Score(value=0.0), True: Score(value=1.0)}


def normalise(text: str) -> str:
    """Bring a short answer into the form in which answers are compared.

    In this order: Unicode's NFKC, lower case, without apostrophes; a comma goes where it parts thousands, a full stop
    stays between digits; every other character that is no letter, mark or digit becomes a space; the words *a*, *an*
    and *the* go, unless nothing else is there; *zero* to *twenty* become digits; words are joined by one space.
    Singular and plural stay different.
    """
    return _normalise_often(text) if len(text) <= _SHORT else _normalise(text)


def _normalise(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).lower().translate(_APOSTROPHES)
    joined = _THOUSANDS.sub("", unicodedata.normalize("NFKC", plain))
    words = _POINTS.sub(" ", joined.translate(_SPACED)).split()
    return " ".join([_DIGITS.get(word, word) for word in words if word not in _ARTICLES] or words)


_SHORT = 50
"""Texts of so many characters come again and again in a set, and few enough are kept to need no room."""

_normalise_often = lru_cache(maxsize=50_000)(_normalise)


class _Spaced(dict[int, int]):
    """What is no letter, mark, digit or full stop, to a space; found out once a character."""

    def __missing__(self, code: int) -> int:
        char = chr(code)
        self[code] = code if char == "." or unicodedata.category(char)[0] in "LMN" else ord(" ")
        return self[code]


_SPACED = _Spaced()
