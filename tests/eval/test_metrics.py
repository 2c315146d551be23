from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics import EMPTY_ANSWER, NO_PREDICTION, Score, contains_answer, exact_match, normalise


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
        ("Three dogs", "3 dogs"),
        ("zero, ten or TWENTY", "0 10 or 20"),
        ("twenty-one", "20 1"),  # beyond twenty, words and digits stay different
        ("someone", "someone"),
        ("none", "none"),
        ("1,000 people", "1000 people"),
        ("12,34,567", "12 34567"),
        ("3.5 m", "3.5 m"),
        ("v. 2.", "v 2"),
        ("...", ""),
        ("one.five", "1 5"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER R}ed", "red"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("cafe'\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("赤い。", "赤い"),
        ("?!", ""),
        ("", ""),
    ],
)
def test_answers_are_normalised(text, plain):
    assert normalise(text) == plain


texts = st.text() | st.text("a1 ,.'-the\u0301")
answers = st.lists(st.sampled_from(["red", "a", "the", "two", "2", "3.5", "1,000", "?!", "dog"]), max_size=5).map(
    " ".join
)


@given(texts)
def test_law_normalising_twice_changes_nothing(text):
    once = normalise(text)
    assert normalise(once) == once


@pytest.mark.parametrize(
    ("prediction", "answer", "exact", "contained"),
    [
        ("The red circle.", "red circle", 1.0, 1.0),
        ("top  left", "Top-left", 1.0, 1.0),
        ("2", "two", 1.0, 1.0),
        ("Two dogs.", "2", 0.0, 1.0),
        ("red", "red circle", 0.0, 0.0),
        ("red circle, I think", "red circle", 0.0, 1.0),
        ("a red and a circle", "red circle", 0.0, 0.0),
        ("circle red", "red circle", 0.0, 0.0),
        ("coloured", "red", 0.0, 0.0),  # words, not letters
        ("12 or 3.5", "3", 0.0, 0.0),
        ("not red", "red", 0.0, 1.0),  # the weakness of contained answers
        ("", "red", 0.0, 0.0),
        ("???", "red", 0.0, 0.0),
        ("the", "a", 0.0, 0.0),
    ],
)
def test_a_match_is_right_and_all_else_is_wrong(prediction, answer, exact, contained):
    assert exact_match(prediction, answer) == Score(value=exact)
    assert contains_answer(prediction, answer) == Score(value=contained)


@given(answers, answers)
def test_law_a_match_is_contained_and_both_depend_on_normalised_texts_only(prediction, answer):
    exact, contained = exact_match(prediction, answer), contains_answer(prediction, answer)
    assert (exact.value is None) == (contained.value is None)
    assert exact.value is None or exact.value <= contained.value
    assert exact_match(normalise(prediction), normalise(answer)) == exact
    assert contains_answer(normalise(prediction), normalise(answer)) == contained


@pytest.mark.parametrize("metric", [exact_match, contains_answer])
def test_failed_is_not_wrong(metric):
    assert metric(None, "red") == Score(value=None, reason=NO_PREDICTION)
    assert metric("red", "!") == Score(value=None, reason=EMPTY_ANSWER)


def test_a_score_has_a_value_or_a_reason():
    with pytest.raises(ValueError, match="reason"):
        Score(value=None)
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite"):
            Score(value=value)
