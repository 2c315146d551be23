from __future__ import annotations

import json

import pytest

from eval.results import QuestionResult
from pipelines.runs.run_log import BrokenRunLog, RunMismatch
from pipelines.scoring.runs import PartOfARun, read

ASKED = {"id": "q0", "video": "v0", "kind": None, "question": "which?", "answer": "red"}
ANSWERED = {**ASKED, "prediction": "Red.", "failure": None, "visual_tokens": 136}
FAILED = {**ASKED, "id": "q1", "prediction": None, "failure": {"kind": "Crashed", "reason": "it ended"}}


def write(folder, *rows, count=2, shard=None, **described):
    folder.mkdir()
    run = {"schema": "vidzip/run/1", "set": "shapes", "questions": {"count": count}, "shard": shard, **described}
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def test_a_run_is_read_as_it_was_written(tmp_path):
    run = read(write(tmp_path / "mine", ANSWERED, FAILED, count=3))
    assert (run.name, run.num_questions) == ("mine", 3)
    assert run.settings == {"set": "shapes", "questions": {"count": 3}, "shard": None}
    about = {"video": "v0", "kind": "", "question": "which?", "answer": "red"}
    assert run.results == (
        QuestionResult(question_id="q0", **about, prediction="Red.", failure="", trace={"visual_tokens": 136}),
        QuestionResult(question_id="q1", **about, prediction=None, failure="Crashed: it ended", trace={}),
    )


def test_the_name_is_the_folders_wherever_one_stands(tmp_path, monkeypatch):
    write(tmp_path / "mine", ANSWERED)
    monkeypatch.chdir(tmp_path / "mine")
    assert read(".").name == "mine"
    assert read("../mine/").name == "mine"


def test_nothing_is_changed_not_even_a_torn_line(tmp_path):
    folder = write(tmp_path / "mine", ANSWERED)
    with (tmp_path / "mine" / "answers.jsonl").open("a") as file:
        file.write('{"id": "q1", "vid')
    before = (tmp_path / "mine" / "answers.jsonl").read_bytes()
    assert len(read(folder).results) == 1
    assert (tmp_path / "mine" / "answers.jsonl").read_bytes() == before


def test_a_part_is_refused(tmp_path):
    with pytest.raises(PartOfARun, match="holds part 1/2 of a run"):
        read(write(tmp_path / "mine", ANSWERED, shard="1/2"))


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunMismatch, match=r"run\.json"):
        read(str(tmp_path))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"video": 3}, "its video is 3, not text"),
        ({"question": None}, "its question is None, not text"),
        ({"answer": ["red"]}, "its answer is"),
        ({"kind": 3}, "its kind is 3, not text, or null"),
        ({"prediction": {"a": "x" * 1_000_000}}, "its prediction is"),
        ({"prediction": None}, "its failure is None, not kind and reason"),
        ({"prediction": None, "failure": "broken"}, "its failure is 'broken'"),
        ({"prediction": None, "failure": {"kind": "Crashed"}}, "its failure is"),
        ({"failure": {"kind": "Crashed", "reason": "it ended"}}, "not null, where there is a prediction"),
        ({"id": 3}, "its id is 3, not text"),
    ],
)
def test_broken_lines_are_named(tmp_path, row, says):
    with pytest.raises(BrokenRunLog, match=r"line 1: ") as caught:
        read(write(tmp_path / "mine", {**ANSWERED, **row}))
    assert says in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("count", [1, None, True, "2"])
def test_a_count_that_cannot_be_is_refused(tmp_path, count):
    with pytest.raises(BrokenRunLog, match="questions, and 2 have a line"):
        read(write(tmp_path / "mine", ANSWERED, FAILED, count=count))
