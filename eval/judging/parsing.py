"""From the text that a judge replied to its judgement: read strictly, or not at all."""

from __future__ import annotations

import ast
import json
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

LONGEST = 4_000
"""Characters of the longest text that is taken for a dict: what nests deeper than this allows harms no parser."""

BEST = 5
"""The highest rating."""


class UnreadableReply(ValueError):
    """A reply from which no single verdict can be read; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a judge found of one answer.

    Attributes:
        question_id: its name in the set.
        verdict: whether the answer is right; None where it is unjudged, which is neither right nor wrong.
        rating: how well it matches, 0 to 5; None where it is unjudged.
        reason: why it is unjudged; empty where it is judged.
        reply: what the judge said, as it came; empty where it said nothing.

    Raises:
        ValueError: half a judgement, or an unjudged answer without a reason.
    """

    question_id: str
    verdict: bool | None
    rating: int | None
    reason: str = ""
    reply: str = ""

    def __post_init__(self) -> None:
        if (self.verdict is None) != (self.rating is None) or (self.verdict is None) != bool(self.reason):
            raise ValueError(f"a judgement of {self.question_id!r} needs verdict and rating, or a reason for neither")

    @property
    def is_contradictory(self) -> bool:
        """Whether verdict and rating exclude each other: yes with 0, or no with 5.

        Both count as they are, as in the published protocol, which looks at them apart; this only marks them. A yes
        with 1, or a no with 4, is a judge's taste and no contradiction.
        """
        return self.rating == (0 if self.verdict else BEST) and self.verdict is not None


@lru_cache(maxsize=1024)  # replies of a run are much alike
def parse_reply(text: str) -> tuple[bool, int]:
    """Read verdict and rating from a reply.

    The reply is one dict in JSON or Python's notation, alone or with text around it (a code fence, say) that has no
    other brace. Nothing in it is ever executed. It needs ``pred`` and ``score``, each once; other keys do not matter.

    ==============================================  ==================================================
    reply                                           reading
    ==============================================  ==================================================
    ``{"pred": "yes", "score": 4}``                 yes, 4
    ``{'pred': 'No', 'score': 0}``                  no, 0
    ``Here it is: {'pred': 'yes', 'score': 3}.``    yes, 3
    ``{"pred": "yes", "score": 4.0}``               yes, 4: JSON has one kind of number
    ``{"pred": "yes", "score": "4"}``               yes, 4: a quoted digit means nothing else
    ``{"pred": "yes", "score": 4.5}``               unreadable: no integer
    ``{"pred": "yes", "score": true}``              unreadable: no number
    ``{"pred": "yes", "score": 6}``                 unreadable: out of range
    ``{"pred": true, "score": 5}``                  unreadable: neither yes nor no
    ``{"pred": "yes"}``                             unreadable: no score
    ``{"pred": "yes", "pred": "no", "score": 3}``   unreadable: said twice
    ``{…} or rather {…}``                           unreadable: two dicts
    ``yes``                                         unreadable: no dict
    ==============================================  ==================================================

    Raises:
        UnreadableReply: it cannot be read so.
    """
    stripped = text.strip()
    if not stripped:
        raise UnreadableReply("the reply is empty")
    found = _read(stripped)
    if found is None:
        if stripped.count("{") != 1 or stripped.count("}") != 1:
            how_many = "no dict" if "{" not in stripped else "more than one dict, or a broken one"
            raise UnreadableReply(f"the reply holds {how_many}")
        found = _read(stripped[stripped.index("{") : stripped.index("}") + 1])
    if found is None:
        raise UnreadableReply("the reply's dict is broken")
    return _verdict(_only(found, "pred")), _rating(_only(found, "score"))


def _read(text: str) -> list[tuple[Any, Any]] | None:
    """Read a text that is one dict; its items in their order, None where it is no dict."""
    if not (text.startswith("{") and text.endswith("}")) or len(text) > LONGEST:
        return None
    with suppress(ValueError, RecursionError):
        items: list[tuple[Any, Any]] = json.loads(text, object_pairs_hook=list)  # a dict would swallow a key's double
        return items
    with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return _as_python(text)
    return None


def _as_python(text: str) -> list[tuple[Any, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python frowns at
        node = ast.parse(text, mode="eval").body
    if not isinstance(node, ast.Dict) or None in node.keys:
        raise TypeError("no dict")
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
    said = value.strip().lower() if isinstance(value, str) else None
    if said not in {"yes", "no"}:
        raise UnreadableReply("the reply's 'pred' is neither yes nor no")
    return said == "yes"


def _rating(value: Any) -> int:
    if isinstance(value, str) and value.strip() in set("012345"):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in range(BEST + 1):
        raise UnreadableReply(f"the reply's 'score' is no integer from 0 to {BEST}")
    return int(value)
