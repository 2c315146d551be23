from __future__ import annotations

import dataclasses
import json
import shutil

import hostile
import pytest
from clips import write_sound
from questions import write_set

import vidzip
from eval.datasets import list_videos, load
from pipelines.runs.answering import Answerer
from pipelines.runs.executing import RunResult
from pipelines.runs.run_log import open_run_log
from pipelines.runs.running import RunWorkload, run
from pipelines.runs.settings import FrameSettings, GenerationSettings
from vidzip import Budget, DecodeOptions, VideoModel
from vidzip.errors import PlanMismatch
from vidzip.video.probing import identify

FRAMES = FrameSettings(budget=Budget(num_frames=6))
NAME = "run"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set") / "set")


def make_workload(folder, frames=FRAMES, **changes):
    made = RunWorkload(
        samples=load(folder),
        videos=list_videos(folder / "videos"),
        frames={NAME: frames},
        decoding=DecodeOptions(workers=1),
    )
    return dataclasses.replace(made, **changes)


def answers(model, workload, out, batch=3, **options):
    generation = GenerationSettings(max_new_tokens=6, batch_questions=batch)
    with open_run_log(str(out), {}) as log:
        run(workload, Answerer(model=model, generation=generation), {NAME: log}, lambda *_: None, **options)
        return dict(log.rows)


def predictions(rows):
    return {key: row["prediction"] for key, row in rows.items()}


@pytest.fixture(scope="module")
def expected(small, folder):
    """The answer to each question, asked alone."""
    predicted = {}
    for sample in load(folder):
        path = folder / "videos" / f"{sample.video}.mp4"
        packed = small.pack(path, vidzip.plan(path, Budget(num_frames=6)))
        predicted[sample.id] = small.ask(packed, sample.question, 6).text
    return predicted


def test_every_question_is_answered_as_if_asked_alone(small, folder, expected, tmp_path):
    rows = answers(small, make_workload(folder), tmp_path / "run")
    assert predictions(rows) == expected
    row = rows["q1_2"]
    assert (row["video"], row["question"], row["answer"], row["frames"], row["visual_tokens"]) == (
        "clip1", "How many are there?", "two", 6, 136,
    )  # fmt: skip
    assert len(row["plan"]["timestamps_seconds"]) == 6
    assert sum(row["plan"]["tokens_per_frame"]) == 136
    assert row["versions"]["vidzip"]
    assert row["model"] == {"model": "tiny-random", "commit": None, "tower": small.tower_fingerprint}
    assert row["seconds"].keys() == {"prefill", "generate"}
    assert {"decode", "encode", "compress", "project", "prefix"} <= row["video_seconds"].keys()


def test_a_run_resumes_from_any_cut(small, folder, expected, tmp_path):
    whole = answers(small, make_workload(folder), tmp_path / "whole")
    lines = (tmp_path / "whole" / "answers.jsonl").read_bytes()
    for cut in (0, 1, len(lines) // 3, len(lines) // 2, len(lines) - 1):
        out = tmp_path / str(cut)
        shutil.copytree(tmp_path / "whole", out)
        (out / "answers.jsonl").write_bytes(lines[:cut])
        rows = answers(small, make_workload(folder), out)
        assert predictions(rows) == expected
        assert rows.keys() == whole.keys()
        assert len((out / "answers.jsonl").read_bytes().splitlines()) == len(expected)


def test_a_finished_run_does_nothing(small, folder, tmp_path, monkeypatch):
    answers(small, make_workload(folder), tmp_path / "run")
    before = (tmp_path / "run" / "answers.jsonl").read_bytes()
    monkeypatch.setattr(
        "pipelines.runs.decode_pool.start_worker", lambda *_, **__: pytest.fail("a process was started")
    )
    answers(small, make_workload(folder), tmp_path / "run")
    assert (tmp_path / "run" / "answers.jsonl").read_bytes() == before


def test_broken_videos_and_questions_fail_alone_and_are_counted(small, folder, expected, tmp_path):
    broken = tmp_path / "set"
    shutil.copytree(folder, broken)
    videos = broken / "videos"
    asked, answers_ = (json.loads((broken / name).read_text()) for name in ("test_q.json", "test_a.json"))
    for name in ("empty", "text", "cut", "sound", "missing", "crash", "exit", "hang"):
        if name != "missing":
            shutil.copy(videos / "clip0.mp4", videos / f"{name}.mp4")
        asked.append({"question_id": name, "video_name": name, "question": "What?"})
        answers_.append({"question_id": name, "answer": "two", "type": "3"})
    asked.append({"question_id": "marker", "video_name": "clip0", "question": "Is <video> a word?"})
    answers_.append({"question_id": "marker", "answer": "two", "type": "3"})
    asked.append({"question_id": "outside", "video_name": "../secret", "question": "What?"})
    answers_.append({"question_id": "outside", "answer": "two", "type": "3"})
    (broken / "test_q.json").write_text(json.dumps(asked))
    (broken / "test_a.json").write_text(json.dumps(answers_))
    (videos / "empty.mp4").write_bytes(b"")
    (videos / "text.mp4").write_text("not a video")
    write_sound(videos / "sound.mp4")
    (videos / "cut.mp4").write_bytes((videos / "clip0.mp4").read_bytes()[:200])
    decoding = DecodeOptions(workers=1, time_limit_seconds=3.0)
    work = make_workload(broken, decode=hostile.decode, decoding=decoding, grace_seconds=1.0)
    rows = answers(small, work, tmp_path / "run")
    assert {key: row["prediction"] for key, row in rows.items() if row["failure"] is None} == expected
    failures = {key: row["failure"]["kind"] for key, row in rows.items() if row["failure"]}
    assert failures == {
        "empty": "NotAVideo", "text": "NotAVideo", "cut": failures["cut"], "sound": "NoVideoStream", "missing": "VideoMissing",
        "crash": "Crashed", "exit": "Crashed", "hang": "TimedOut", "marker": "BadQuestion", "outside": "BadVideoName",
    }  # fmt: skip
    result = RunResult(samples=work.samples, rows=rows)
    assert (len(result.samples), result.num_answered, result.num_failed) == (30, 20, 10)
    again = answers(small, work, tmp_path / "run")
    assert again == rows


def test_cached_packs_decode_nothing_and_give_the_same_answers(small, folder, expected, tmp_path, monkeypatch):
    work = make_workload(folder, pack_cache=str(tmp_path / "packs"))
    first = answers(small, work, tmp_path / "first")
    monkeypatch.setattr(
        "pipelines.runs.decode_pool.start_worker", lambda *_, **__: pytest.fail("a process was started")
    )
    second = answers(small, work, tmp_path / "second", batch=5)
    assert predictions(second) == expected
    assert second["q0_0"]["plan"].pop("from_cache") is not first["q0_0"]["plan"].pop("from_cache")
    assert second["q0_0"]["plan"] == first["q0_0"]["plan"]
    assert second["q0_0"]["video_seconds"].keys() == {"project", "prefix"}
    monkeypatch.undo()
    other = dataclasses.replace(work, frames={NAME: dataclasses.replace(FRAMES, method="stride")})
    assert answers(small, other, tmp_path / "third")["q0_0"]["plan"]["method"] == "stride"


def test_a_run_mixes_cached_packs_with_new_ones(small, folder, expected, tmp_path):
    work = make_workload(folder, pack_cache=str(tmp_path / "packs"))
    answers(small, work, tmp_path / "first", videos=iter(["clip1", "clip3"]))
    rows = answers(small, work, tmp_path / "second")
    assert predictions(rows) == expected
    cached = {row["video"] for row in rows.values() if row["plan"]["from_cache"]}
    assert cached == {"clip1", "clip3"}


def test_a_video_that_cannot_be_packed_affects_no_other(small, folder, expected, tmp_path, monkeypatch):
    pack = VideoModel.pack_features

    def mostly(self, encoded, plan, method, **options):
        if plan.video_identity == identify(folder / "videos" / "clip2.mp4"):
            raise PlanMismatch("one frame too many")
        return pack(self, encoded, plan, method, **options)

    monkeypatch.setattr(VideoModel, "pack_features", mostly)
    rows = answers(small, make_workload(folder), tmp_path / "run")
    failed = {
        key for key, row in rows.items() if row["failure"] == {"kind": "PlanMismatch", "reason": "one frame too many"}
    }
    assert failed == {key for key, row in rows.items() if row["video"] == "clip2"}
    assert {key: row["prediction"] for key, row in rows.items() if key not in failed}.items() <= expected.items()


def test_retry_failed_asks_again(small, folder, expected, tmp_path):
    work = make_workload(folder, videos=list_videos(tmp_path))
    assert all(row["failure"]["kind"] == "VideoMissing" for row in answers(small, work, tmp_path / "run").values())
    work = make_workload(folder, videos=list_videos(folder / "videos"))
    assert all(row["failure"] for row in answers(small, work, tmp_path / "run").values())
    with open_run_log(str(tmp_path / "run"), {}, retry_failed=True) as log:
        assert not log.rows
        assert log.num_failed == 0
    rows = answers(small, work, tmp_path / "run")
    assert predictions(rows) == expected


def test_a_damaged_pack_is_replaced(small, folder, expected, tmp_path):
    work = make_workload(folder, pack_cache=str(tmp_path / "packs"))
    answers(small, work, tmp_path / "first")
    for pack in (tmp_path / "packs").rglob("*.vidzip"):
        pack.write_bytes(pack.read_bytes()[:-1])
    rows = answers(small, work, tmp_path / "second")
    assert predictions(rows) == expected


def test_questions_without_video_need_no_file(small, folder, tmp_path):
    work = make_workload(folder, frames=None, videos=None)
    rows = answers(small, work, tmp_path / "run", batch=7)
    assert len(rows) == 20
    assert {row["visual_tokens"] for row in rows.values()} == {0}
    assert rows["q0_0"]["prediction"] == rows["q3_0"]["prediction"]


def test_only_the_given_videos_are_used(small, folder, tmp_path):
    rows = answers(small, make_workload(folder), tmp_path / "run", videos=iter(["clip2", "clip0"]))
    assert {row["video"] for row in rows.values()} == {"clip0", "clip2"}
