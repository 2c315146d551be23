from __future__ import annotations

import json

import pytest

from eval.results import QuestionResult
from pipelines.runs.run_log import BrokenRunLog, RunMismatch
from pipelines.scoring.loading import PartialRun, load_run

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
    run = load_run(write(tmp_path / "mine", ANSWERED, FAILED, count=3))
    assert (run.name, run.num_questions) == ("mine", 3)
    assert run.settings == {"set": "shapes", "questions": {"count": 3}, "shard": None}
    about = {"video": "v0", "kind": "", "question": "which?", "answer": "red"}
    assert run.results == (
        QuestionResult(question_id="q0", **about, prediction="Red.", failure="", trace={"visual_tokens": 136}),
        QuestionResult(question_id="q1", **about, prediction=None, failure="Crashed: it ended", trace={}),
    )


def test_the_name_is_the_folders_from_any_current_folder(tmp_path, monkeypatch):
    write(tmp_path / "mine", ANSWERED)
    monkeypatch.chdir(tmp_path / "mine")
    assert load_run(".").name == "mine"
    assert load_run("../mine/").name == "mine"


def test_nothing_is_changed_not_even_an_interrupted_line(tmp_path):
    folder = write(tmp_path / "mine", ANSWERED)
    with (tmp_path / "mine" / "answers.jsonl").open("a") as file:
        file.write('{"id": "q1", "vid')
    before = (tmp_path / "mine" / "answers.jsonl").read_bytes()
    assert len(load_run(folder).results) == 1
    assert (tmp_path / "mine" / "answers.jsonl").read_bytes() == before


def test_a_part_is_refused(tmp_path):
    with pytest.raises(PartialRun, match="1/2"):
        load_run(write(tmp_path / "mine", ANSWERED, shard="1/2"))


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunMismatch, match=r"run\.json"):
        load_run(str(tmp_path))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"video": 3}, "its video is 3"),
        ({"question": None}, "its question is None"),
        ({"answer": ["red"]}, "its answer is"),
        ({"kind": 3}, "its kind is 3"),
        ({"prediction": {"a": "x" * 1_000_000}}, "its prediction is"),
        ({"prediction": None}, "its failure is None"),
        ({"prediction": None, "failure": "broken"}, "its failure is 'broken'"),
        ({"prediction": None, "failure": {"kind": "Crashed"}}, "its failure is"),
        ({"failure": {"kind": "Crashed", "reason": "it ended"}}, "its failure is"),
        ({"id": 3}, "its id is 3"),
    ],
)
def test_broken_lines_are_named(tmp_path, row, problem):
    with pytest.raises(BrokenRunLog, match=r"line 1: ") as caught:
        load_run(write(tmp_path / "mine", {**ANSWERED, **row}))
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("count", [1, None, True, "2"])
def test_an_inconsistent_count_is_refused(tmp_path, count):
    with pytest.raises(BrokenRunLog, match=" 2 "):
        load_run(write(tmp_path / "mine", ANSWERED, FAILED, count=count))
