"""Strict parsing of a judge's reply."""

from __future__ import annotations

import ast
import json
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

MAX_CHARACTERS = 4_000
"""Limit on the characters of a dict, which bounds how deeply it can nest."""

MAX_RATING = 5


class UnreadableReply(ValueError):
    """A reply does not contain exactly one verdict; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A judge's judgement of one answer.

    Attributes:
        question_id: the question's id in the set.
        verdict: whether the answer is right; None if it is unjudged, which is neither right nor wrong.
        rating: how well it matches, 0 to 5; None if it is unjudged.
        reason: why it is unjudged; empty if it is judged.
        reply: the judge's reply; empty if there was none.

    Raises:
        ValueError: only one of verdict and rating is given, or an unjudged answer has no reason.
    """

    question_id: str
    verdict: bool | None
    rating: int | None
    reason: str = ""
    reply: str = ""

    def __post_init__(self) -> None:
        if (self.verdict is None) != (self.rating is None) or (self.verdict is None) != bool(self.reason):
            raise ValueError(f"a judgement of {self.question_id!r} needs a verdict and a rating, or a reason")

    @property
    def is_contradictory(self) -> bool:
        """Whether verdict and rating contradict each other: yes with 0, or no with 5.

        Both still count, as in the published protocol, which averages them separately. A yes with 1 or a no with 4 is a
        matter of taste.
        """
        return self.rating == (0 if self.verdict else MAX_RATING) and self.verdict is not None


@lru_cache(maxsize=1024)  # many replies of a run are equal
def parse_reply(text: str) -> tuple[bool, int]:
    """Parse verdict and rating from a reply.

    The reply is one dict in JSON or Python notation, possibly with text around it, such as a code fence, that has no
    other brace. It is never executed. It needs ``pred`` and ``score``, each once; other keys are ignored.

    ==============================================  ==================================================
    reply                                           result
    ==============================================  ==================================================
    ``{"pred": "yes", "score": 4}``                 yes, 4
    ``{'pred': 'No', 'score': 0}``                  no, 0
    ``Here it is: {'pred': 'yes', 'score': 3}.``    yes, 3
    ``{"pred": "yes", "score": 4.0}``               yes, 4: JSON has one number type
    ``{"pred": "yes", "score": "4"}``               yes, 4: a quoted digit is unambiguous
    ``{"pred": "yes", "score": 4.5}``               unreadable: not an integer
    ``{"pred": "yes", "score": true}``              unreadable: not a number
    ``{"pred": "yes", "score": 6}``                 unreadable: out of range
    ``{"pred": true, "score": 5}``                  unreadable: neither yes nor no
    ``{"pred": "yes"}``                             unreadable: no score
    ``{"pred": "yes", "pred": "no", "score": 3}``   unreadable: given twice
    ``{…} or rather {…}``                           unreadable: two dicts
    ``yes``                                         unreadable: no dict
    ==============================================  ==================================================

    Raises:
        UnreadableReply: the reply has another form.
    """
    stripped = text.strip()
    if not stripped:
        raise UnreadableReply("the reply is empty")
    items = _parse_dict(stripped)
    if items is None:
        if stripped.count("{") != 1 or stripped.count("}") != 1:
            count = "no dict" if "{" not in stripped else "more than one dict, or a malformed one"
            raise UnreadableReply(f"the reply contains {count}")
        items = _parse_dict(stripped[stripped.index("{") : stripped.index("}") + 1])
    if items is None:
        raise UnreadableReply("the reply's dict is malformed")
    return _verdict(_only(items, "pred")), _rating(_only(items, "score"))


def _parse_dict(text: str) -> list[tuple[Any, Any]] | None:
    """Parse a text that is one dict; returns its items in order, None if it is something else."""
    if not (text.startswith("{") and text.endswith("}")) or len(text) > MAX_CHARACTERS:
        return None
    with suppress(ValueError, RecursionError):
        items: list[tuple[Any, Any]] = json.loads(text, object_pairs_hook=list)  # keeps repeated keys
        return items
    with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return _parse_python(text)
    return None


def _parse_python(text: str) -> list[tuple[Any, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about invalid escapes
        node = ast.parse(text, mode="eval").body
    if not isinstance(node, ast.Dict) or None in node.keys:
        raise TypeError("not a dict")
    return [
        (ast.literal_eval(key), ast.literal_eval(value))
        for key, value in zip(node.keys, node.values, strict=True)
        if key
    ]


def _only(items: list[tuple[Any, Any]], key: str) -> Any:
    found = [value for name, value in items if name == key and isinstance(name, str)]
    if len(found) != 1:
        raise UnreadableReply(f"the reply has {'no' if not found else 'more than one'} {key!r}")
    return found[0]


def _verdict(value: Any) -> bool:
    word = value.strip().lower() if isinstance(value, str) else None
    if word not in {"yes", "no"}:
        raise UnreadableReply("the reply's 'pred' is neither yes nor no")
    return word == "yes"


def _rating(value: Any) -> int:
    if isinstance(value, str) and value.strip() in set("012345"):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in range(MAX_RATING + 1):
        raise UnreadableReply(f"the reply's 'score' is not an integer from 0 to {MAX_RATING}")
    return int(value)
