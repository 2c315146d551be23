from __future__ import annotations

import json

import pytest
from questions import write_set

from eval.datasets import load
from pipelines.cli import main

MODEL = ["--model", "tiny-random", "--device", "cpu", "--max-new-tokens", "3", "--processes", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set") / "set", videos=3, questions=2)


def evaluate(folder, out, *options):
    return main(["eval", "shapes", "--data", str(folder), "--out", str(out), *MODEL, *options])


def rows(out):
    return [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]


def test_a_run_is_made_and_resumed(folder, tmp_path, capsys):
    out = tmp_path / "run"
    assert evaluate(folder, out, "--frames", "4") == 0
    printed = capsys.readouterr().out
    assert (
        "questions                     6\nanswered                      6\nfailed                        0" in printed
    )
    assert "exact match, of all" in printed
    assert [row["id"] for row in rows(out)] == [sample.id for sample in load(folder)]
    before = (out / "answers.jsonl").read_bytes()
    assert evaluate(folder, out, "--frames", "4") == 0
    assert (out / "answers.jsonl").read_bytes() == before
    assert evaluate(folder, out, "--frames", "5") == 2
    err = capsys.readouterr().err
    assert "frames" in err
    assert "4, not 5" in err
    described = json.loads((out / "run.json").read_text())
    assert (described["set"], described["model"], described["frames"], described["budget"]) == (
        "shapes", "tiny-random", 4, 136,
    )  # fmt: skip


def test_the_baseline_and_no_video(folder, tmp_path):
    assert evaluate(folder, tmp_path / "uncompressed", "--uncompressed") == 0
    assert {(row["frames"], row["visual_tokens"]) for row in rows(tmp_path / "uncompressed")} == {(8, 2056)}
    assert {row["plan"]["method"] for row in rows(tmp_path / "uncompressed")} == {"none"}
    assert evaluate(folder, tmp_path / "no-video", "--no-video", "--videos", "/nowhere") == 0
    assert {(row["frames"], row["visual_tokens"]) for row in rows(tmp_path / "no-video")} == {(0, 0)}


def test_shards_of_a_run_are_merged(folder, tmp_path, capsys):
    for part in ("1/2", "2/2"):
        assert evaluate(folder, tmp_path / part[0], "--frames", "2", "--shard", part) == 0
    assert main(["merge", str(tmp_path / "1"), str(tmp_path / "2"), "--out", str(tmp_path / "whole")]) == 0
    assert "6 questions of 2 parts" in capsys.readouterr().out
    assert {row["id"] for row in rows(tmp_path / "whole")} == {sample.id for sample in load(folder)}
    assert main(["merge", str(tmp_path / "1"), "--out", str(tmp_path / "half")]) == 2
    assert "2/2" in capsys.readouterr().err


def test_first_questions_and_first_videos(folder, tmp_path):
    assert evaluate(folder, tmp_path / "a", "--no-video", "--subset", "first3") == 0
    assert [row["id"] for row in rows(tmp_path / "a")] == [sample.id for sample in load(folder)][:3]
    assert evaluate(folder, tmp_path / "b", "--no-video", "--limit", "2") == 0
    assert {row["video"] for row in rows(tmp_path / "b")} == {"clip0", "clip1"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--uncompressed", "--no-video"], "--uncompressed and --no-video"),
        (["--uncompressed", "--frames", "4"], "--uncompressed and --frames"),
        (["--method", "magic"], "'magic'"),
        (["--shard", "3/2"], "'3/2'"),
        (["--subset", "last5"], "last5"),
        (["--limit", "0"], "videos is 0"),
        (["--batch", "0"], "questions is 0"),
        (["--processes", "0"], "processes is 0"),
        (["--gpus", "all"], "this machine has 0"),
        (["--frames", "200"], "200 frames"),
        (["--videos", "/nowhere"], "/nowhere"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(folder, tmp_path, capsys, options, says):
    assert evaluate(folder, tmp_path / "run", *options) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_unknown_sets_and_folders_are_refused(folder, tmp_path, capsys):
    assert main(["eval", "msvdd", "--data", str(folder), "--out", str(tmp_path / "a"), *MODEL]) == 2
    assert "msvdd" in capsys.readouterr().err
    assert main(["eval", "msvd", "--data", str(tmp_path), "--out", str(tmp_path / "a"), *MODEL]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_a_real_clip_with_its_26_questions(data, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["eval", "msvd", "--data", str(data / "msvd"), "--out", str(out), "--device", "cpu"]) == 0
    assert "answered                      26" in capsys.readouterr().out
    assert len({row["id"] for row in rows(out)}) == 26
