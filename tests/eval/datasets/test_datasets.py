from __future__ import annotations

import json
import shutil

import pytest

from eval.datasets import LAYOUTS, DatasetError, Sample, load

QUESTIONS = [
    {"question_id": "v_b_1", "video_name": "b", "question": "who?"},
    {"question_id": "v_a_0", "video_name": "a", "question": "what?"},
]
ANSWERS = [
    {"question_id": "v_a_0", "answer": "dog", "type": 3},
    {"question_id": "v_b_1", "answer": "man"},
]


@pytest.fixture
def write(tmp_path):
    def write(questions=QUESTIONS, answers=ANSWERS):
        for name, rows in (("test_q.json", questions), ("test_a.json", answers)):
            (tmp_path / name).write_text(rows if isinstance(rows, str) else json.dumps(rows), encoding="utf-8")
        return tmp_path

    return write


def test_answers_join_by_id_and_questions_keep_their_order(write):
    assert load(write()) == [
        Sample(id="v_b_1", video="b", question="who?", answer="man", kind=None),
        Sample(id="v_a_0", video="a", question="what?", answer="dog", kind="3"),
    ]


@pytest.mark.parametrize(
    ("questions", "answers", "says"),
    [
        ("[", ANSWERS, r"test_q\.json cannot be read"),
        ("{}", ANSWERS, r"test_q\.json holds no list"),
        ([*QUESTIONS, 5], ANSWERS, r"test_q\.json, row 2: not an object but 5"),
        ([{**QUESTIONS[0], "question": None}], ANSWERS, r"test_q\.json, row 0: question is None, not text"),
        (QUESTIONS, [*ANSWERS, {"question_id": "v_c_0"}], r"test_a\.json, row 2: answer is None, not text"),
        ([*QUESTIONS, QUESTIONS[0]], ANSWERS, "row 2: the id 'v_b_1' stands there twice"),
        (QUESTIONS[:1], ANSWERS, "1 ids stand in only one of .* such as 'v_a_0'"),
        (QUESTIONS, ANSWERS[:1], "1 ids stand in only one of .* such as 'v_b_1'"),
    ],
)
def test_broken_files_are_named_with_their_row(write, questions, answers, says):
    with pytest.raises(DatasetError, match=says):
        load(write(questions, answers))


def test_folders_that_hold_no_set_are_named(tmp_path):
    with pytest.raises(DatasetError, match="is no folder"):
        load(tmp_path / "missing")
    with pytest.raises(DatasetError, match=r"no question set of a known layout .*video-llava"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "suffix", "count"), [("msvd", "", 26), ("msrvtt", "_400", 400), ("activitynet", "_400", 400)]
)
def test_real_rows(data, tmp_path, name, suffix, count):
    for part in ("q", "a"):
        shutil.copy(data / name / f"test_{part}{suffix}.json", tmp_path / f"test_{part}.json")
    samples = load(tmp_path)
    assert len(samples) == count
    assert all(sample.id.startswith(f"v_{sample.video}_") for sample in samples)


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_layout_claims_an_empty_folder(tmp_path, name):
    assert not LAYOUTS[name].recognises(tmp_path)
