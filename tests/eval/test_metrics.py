from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics import Score, exact_match, normalise


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Red.", "red"),
        ("  The red\tCIRCLE\n", "red circle"),
        ("top-left", "top left"),
        ("It's an apple!", "its apple"),
        ("it\N{RIGHT SINGLE QUOTATION MARK}s", "its"),
        ("A", "a"),  # an option's letter, not an article
        ("another theory", "another theory"),
        ("3 dogs", "3 dogs"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER R}ed", "red"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("赤い。", "赤い"),
        ("?!", ""),
        ("", ""),
    ],
)
def test_answers_are_normalised(text, plain):
    assert normalise(text) == plain


@given(st.text())
def test_law_normalising_twice_changes_nothing(text):
    once = normalise(text)
    assert normalise(once) == once


@pytest.mark.parametrize(
    ("prediction", "answer", "value"),
    [
        ("The red circle.", "red circle", 1.0),
        ("top  left", "Top-left", 1.0),
        ("red", "red circle", 0.0),
        ("red circle, I think", "red circle", 0.0),
        ("2", "two", 0.0),
        ("", "red", 0.0),
        ("???", "red", 0.0),
        ("the", "a", 0.0),
    ],
)
def test_a_match_is_right_and_all_else_is_wrong(prediction, answer, value):
    assert exact_match(prediction, answer) == Score(value=value)


def test_failed_is_not_wrong():
    assert exact_match(None, "red") == Score(value=None, reason="there is no prediction")
    assert exact_match("red", "!").value is None
    assert "nothing is left of the answer '!'" in exact_match("red", "!").reason


def test_a_score_has_a_value_or_a_reason():
    with pytest.raises(ValueError, match="needs a reason"):
        Score(value=None)
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="give a finite number"):
            Score(value=value)
