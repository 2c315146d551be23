from __future__ import annotations

import pytest

from eval.datasets import DatasetError, Sample, load, subset

SAMPLES = [Sample(id=str(number), video=f"v{-number}", question="what?", answer="dog") for number in range(12)]


@pytest.mark.parametrize("count", [1, 7, 12])
def test_the_first_rows_in_file_order(count):
    assert subset(SAMPLES, f"first{count}") == SAMPLES[:count]


def test_file_order_is_the_questions_files(write):
    questions = [{"question_id": key, "video_name": "v", "question": "what?"} for key in "cab"]
    answers = [{"question_id": key, "answer": "dog"} for key in "abc"]
    samples = load(write(test_q__json=questions, test_a__json=answers))
    assert [one.id for one in subset(samples, "first2")] == ["c", "a"]


@pytest.mark.parametrize(
    "name", ["", "first", "first0", "first-1", "first01", "first1.5", "last5", "First5", "first 5", "first5 ", "5",
             "first\N{ARABIC-INDIC DIGIT FIVE}", "first" + "9" * 5000]
)  # fmt: skip
def test_other_names_are_refused(name):
    with pytest.raises(DatasetError, match="first1000"):
        subset(SAMPLES, name)


def test_more_rows_than_there_are_is_refused():
    with pytest.raises(DatasetError, match=r"1,000 .* 12; use first12"):
        subset(SAMPLES, "first1000")
    assert subset(SAMPLES, "first1000", or_fewer=True) == SAMPLES
    with pytest.raises(DatasetError, match="there are 0"):
        subset([], "first1")
