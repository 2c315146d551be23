from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.judging import Judgement, UnreadableReply, parse_reply

READABLE = {
    '{"pred": "yes", "score": 4}': (True, 4),
    "{'pred': 'yes', 'score': 4}": (True, 4),
    "{'pred': 'No', 'score': 0}": (False, 0),
    ' \n{"score": 5, "pred": " YES "}\n': (True, 5),
    '```json\n{"pred": "no", "score": 1}\n```': (False, 1),
    "```python\n{'pred': 'no', 'score': 1}\n```": (False, 1),
    "Here it is: {'pred': 'yes', 'score': 3}. I hope it helps!": (True, 3),
    "The answer is wrong, so no. {'pred': 'yes', 'score': 3}": (True, 3),
    '{"pred": "yes", "score": 4.0}': (True, 4),
    '{"pred": "yes", "score": "4"}': (True, 4),
    '{"pred": "yes", "score": 4, "why": "a {braced} word"}': (True, 4),
    "{'pred': 'no', 'score': 0, 'why': 'it\\'s none'}": (False, 0),
    "{'pred': 'no', 'score': 2, 'why': '\\d'}": (False, 2),
    '{"pred": "yes", "score": 0}': (True, 0),
    '{"pred": "no", "score": 5}': (False, 5),
}

UNREADABLE = [
    "",
    " \n\t",
    "yes",
    "yes, 4",
    "['yes', 4]",
    "<html><body>502 Bad Gateway</body></html>",
    "{'pred': 'yes', 'sco",
    "{'pred': 'yes', 'score': 4",
    '{"pred": "yes", "score": 4} {"pred": "no", "score": 0}',
    "{'pred': 'no', 'score': 0}, or rather {'pred': 'yes', 'score': 4}",
    '{"verdict": {"pred": "yes", "score": 4}}',
    "Sure: {'a': {'pred': 'yes', 'score': 4}}",
    '{"pred": "yes"}',
    '{"score": 4}',
    '{"PRED": "yes", "score": 4}',
    '{"pred": "yes", "pred": "no", "score": 3}',
    "{'pred': 'yes', 'score': 3, 'score': 1}",
    '{"pred": true, "score": 5}',
    '{"pred": null, "score": 5}',
    '{"pred": "maybe", "score": 3}',
    '{"pred": "yes.", "score": 3}',
    '{"pred": ["yes"], "score": 3}',
    '{"pred": "yes", "score": 4.5}',
    '{"pred": "yes", "score": 6}',
    '{"pred": "yes", "score": -1}',
    '{"pred": "yes", "score": true}',
    '{"pred": "yes", "score": null}',
    '{"pred": "yes", "score": NaN}',
    '{"pred": "yes", "score": Infinity}',
    '{"pred": "yes", "score": "four"}',
    '{"pred": "yes", "score": "4/5"}',
    '{"pred": "yes", "score": "\u0664"}',
    '{"pred": "yes", "score": [4]}',
    "{'pred': 'yes', 'score': 1j}",
    "{'pred': 'yes', 'score': 2 + 2}",
    "{'pred': pred, 'score': 4}",
    "{**{'pred': 'yes'}, 'score': 4}",
    "{'pred', 'score'}",
]


@pytest.mark.parametrize(("text", "expected"), READABLE.items())
def test_readable_replies(text, expected):
    verdict, rating = parse_reply(text)
    assert (verdict, rating) == expected
    assert type(verdict) is bool
    assert type(rating) is int


HOSTILE = [
    "{'pred': __import__('os').system('touch /tmp/executed'), 'score': 4}",
    "__import__('os').abort()",
    "{'pred': 'yes', 'score': (lambda: 4)()}",
    "{'pred': 'yes', 'score': [4 for _ in range(10**9)]}",
    "{'pred': 'yes', 'score': 9**9**9}",
    "{'pred': 'yes', 'score': " + "9" * 3000 + "}",
    "{" * 100_000,
    "{'a':" * 600 + "1" + "}" * 600,
    '{"a":' * 100_000 + "1" + "}" * 100_000,
    "{'pred': 'yes', 'score': " + "-" * 3000 + "4}",
    "{'pred': 'yes', 'score': " + "(" * 1500 + "4" + ")" * 1500 + "}",
    "{'pred': 'yes', 'score': 4, 'x': '" + "x" * 1_000_000 + "'}",
    "{'pred': 'yes', 'score': \ud800}",
    "{'pred': 'y\x00es', 'score': 4}",
]


@pytest.mark.parametrize("text", [*UNREADABLE, *HOSTILE])
def test_unreadable_replies_are_refused_and_never_executed(text):
    with pytest.raises(UnreadableReply):
        parse_reply(text)


@given(st.text() | st.text("{}'\"predscoyn:, 0123456789\\\n[]()-"))
def test_law_any_text_gives_a_verdict_and_a_rating_in_range_or_is_unreadable(text):
    with suppress(UnreadableReply):
        verdict, rating = parse_reply(text)
        assert verdict in {True, False}
        assert rating in range(6)


@given(
    st.booleans(),
    st.integers(0, 5),
    st.sampled_from([json.dumps, repr]),
    st.text(st.characters(exclude_characters="{}")),
    st.text(st.characters(exclude_characters="{}")),
)
def test_law_text_around_the_dict_does_not_matter(verdict, rating, write, before, after):
    reply = {"pred": "yes" if verdict else "no", "score": rating}
    assert parse_reply(f"{before}{write(reply)}{after}") == (verdict, rating)


@pytest.mark.parametrize(
    ("verdict", "rating", "flagged"),
    [(True, 0, True), (False, 5, True), (True, 1, False), (False, 4, False), (True, 5, False), (False, 0, False)],
)
def test_contradictions_are_flagged(verdict, rating, flagged):
    judgement = Judgement(question_id="a", verdict=verdict, rating=rating)
    assert judgement.is_contradictory is flagged


def test_an_unjudged_answer_needs_a_reason_and_contradicts_nothing():
    assert not Judgement(question_id="a", verdict=None, rating=None, reason="no reply").is_contradictory
    for fields in (
        {"verdict": None, "rating": None},
        {"verdict": True, "rating": None},
        {"verdict": True, "rating": 3, "reason": "why not"},
        {"verdict": None, "rating": 3, "reason": "x"},
    ):
        with pytest.raises(ValueError, match="verdict"):
            Judgement(question_id="a", **fields)
