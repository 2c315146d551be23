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

UNREADABLE = {
    "": "empty",
    " \n\t": "empty",
    "yes": "no dict",
    "yes, 4": "no dict",
    "['yes', 4]": "no dict",
    "<html><body>502 Bad Gateway</body></html>": "no dict",
    "{'pred': 'yes', 'sco": "more than one dict, or a broken one",
    "{'pred': 'yes', 'score': 4": "broken",
    '{"pred": "yes", "score": 4} {"pred": "no", "score": 0}': "more than one dict",
    "{'pred': 'no', 'score': 0}, or rather {'pred': 'yes', 'score': 4}": "more than one dict",
    '{"verdict": {"pred": "yes", "score": 4}}': "no 'pred'",
    "Sure: {'a': {'pred': 'yes', 'score': 4}}": "more than one dict, or a broken one",
    '{"pred": "yes"}': "no 'score'",
    '{"score": 4}': "no 'pred'",
    '{"PRED": "yes", "score": 4}': "no 'pred'",
    '{"pred": "yes", "pred": "no", "score": 3}': "more than one 'pred'",
    "{'pred': 'yes', 'score': 3, 'score': 1}": "more than one 'score'",
    '{"pred": true, "score": 5}': "neither yes nor no",
    '{"pred": null, "score": 5}': "neither yes nor no",
    '{"pred": "maybe", "score": 3}': "neither yes nor no",
    '{"pred": "yes.", "score": 3}': "neither yes nor no",
    '{"pred": ["yes"], "score": 3}': "neither yes nor no",
    '{"pred": "yes", "score": 4.5}': "no integer",
    '{"pred": "yes", "score": 6}': "no integer",
    '{"pred": "yes", "score": -1}': "no integer",
    '{"pred": "yes", "score": true}': "no integer",
    '{"pred": "yes", "score": null}': "no integer",
    '{"pred": "yes", "score": NaN}': "no integer",
    '{"pred": "yes", "score": Infinity}': "no integer",
    '{"pred": "yes", "score": "four"}': "no integer",
    '{"pred": "yes", "score": "4/5"}': "no integer",
    '{"pred": "yes", "score": "\u0664"}': "no integer",
    '{"pred": "yes", "score": [4]}': "no integer",
    "{'pred': 'yes', 'score': 1j}": "no integer",
    "{'pred': 'yes', 'score': 2 + 2}": "broken",
    "{'pred': pred, 'score': 4}": "broken",
    "{**{'pred': 'yes'}, 'score': 4}": "broken",
    "{'pred', 'score'}": "broken",
}


@pytest.mark.parametrize(("text", "reading"), READABLE.items())
def test_replies_that_can_be_read(text, reading):
    verdict, rating = parse_reply(text)
    assert (verdict, rating) == reading
    assert type(verdict) is bool
    assert type(rating) is int


@pytest.mark.parametrize(("text", "says"), UNREADABLE.items())
def test_replies_that_cannot(text, says):
    with pytest.raises(UnreadableReply, match=says):
        parse_reply(text)


@pytest.mark.parametrize(
    "text",
    [
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
    ],
)
def test_hostile_replies_do_nothing_and_are_unreadable(text):
    with pytest.raises(UnreadableReply):
        parse_reply(text)


@given(st.text() | st.text("{}'\"predscoyn:, 0123456789\\\n[]()-"))
def test_law_any_text_gives_a_verdict_and_a_rating_in_range_or_none(text):
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
def test_law_what_was_meant_is_read_whatever_stands_around(verdict, rating, write, before, after):
    meant = {"pred": "yes" if verdict else "no", "score": rating}
    assert parse_reply(f"{before}{write(meant)}{after}") == (verdict, rating)


@pytest.mark.parametrize(
    ("verdict", "rating", "flagged"),
    [(True, 0, True), (False, 5, True), (True, 1, False), (False, 4, False), (True, 5, False), (False, 0, False)],
)
def test_contradictions_are_flagged_and_kept(verdict, rating, flagged):
    judgement = Judgement(question_id="a", verdict=verdict, rating=rating)
    assert judgement.is_contradictory is flagged


def test_an_unjudged_answer_contradicts_nothing_and_says_why():
    assert not Judgement(question_id="a", verdict=None, rating=None, reason="no reply").is_contradictory
    for fields in (
        {"verdict": None, "rating": None},
        {"verdict": True, "rating": None},
        {"verdict": True, "rating": 3, "reason": "why not"},
        {"verdict": None, "rating": 3, "reason": "x"},
    ):
        with pytest.raises(ValueError, match="needs verdict and rating"):
            Judgement(question_id="a", **fields)
