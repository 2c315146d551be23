from __future__ import annotations

import dataclasses
import json
import shutil

import hostile
import pytest
from clips import write_sound
from questions import write_set

from eval.datasets import list_videos, load
from pipelines.evaluation.answering import Answerer
from pipelines.evaluation.journal import open_journal
from pipelines.evaluation.running import Look, Work, run, summary
from vidzip import Budget, Decoding, VideoLlava, plan
from vidzip.errors import PlanMismatch
from vidzip.video.probing import identify

LOOK = Look(budget=Budget(num_frames=6))


def silently(*_):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set") / "set")


def work_on(folder, **changes):
    made = Work(samples=load(folder), videos=list_videos(folder / "videos"), look=LOOK, decoding=Decoding(workers=1))
    return dataclasses.replace(made, **changes)


def answers(model, work, out, batch=3, **options):
    with open_journal(str(out), {}) as journal:
        run(work, Answerer(model=model, max_new_tokens=6, batch_questions=batch), journal, silently, **options)
        return dict(journal.rows)


@pytest.fixture(scope="module")
def expected(small, folder):
    """What each question is answered, one by one, without any of this."""
    said = {}
    for sample in load(folder):
        path = folder / "videos" / f"{sample.video}.mp4"
        packed = small.pack(path, plan(path, Budget(num_frames=6)))
        said[sample.id] = small.ask(packed, sample.question, 6).text
    return said


def test_every_question_is_answered_as_if_asked_alone(small, folder, expected, tmp_path):
    rows = answers(small, work_on(folder), tmp_path / "run")
    assert {key: row["prediction"] for key, row in rows.items()} == expected
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


def test_a_run_goes_on_from_wherever_it_was_cut(small, folder, expected, tmp_path):
    whole = answers(small, work_on(folder), tmp_path / "whole")
    lines = (tmp_path / "whole" / "answers.jsonl").read_bytes()
    for cut in (0, 1, len(lines) // 3, len(lines) // 2, len(lines) - 1):
        out = tmp_path / str(cut)
        shutil.copytree(tmp_path / "whole", out)
        (out / "answers.jsonl").write_bytes(lines[:cut])
        rows = answers(small, work_on(folder), out)
        assert {key: row["prediction"] for key, row in rows.items()} == expected
        assert rows.keys() == whole.keys()
        assert len((out / "answers.jsonl").read_bytes().splitlines()) == len(expected)


def test_a_finished_run_does_nothing(small, folder, tmp_path, monkeypatch):
    answers(small, work_on(folder), tmp_path / "run")
    before = (tmp_path / "run" / "answers.jsonl").read_bytes()
    monkeypatch.setattr("pipelines.evaluation.crew._Hand._start", lambda _: pytest.fail("a process was started"))
    answers(small, work_on(folder), tmp_path / "run")
    assert (tmp_path / "run" / "answers.jsonl").read_bytes() == before


def test_poison_costs_its_own_questions_and_the_denominator_stays(small, folder, expected, tmp_path):
    poisoned = tmp_path / "set"
    shutil.copytree(folder, poisoned)
    videos = poisoned / "videos"
    asked, answers_ = (json.loads((poisoned / name).read_text()) for name in ("test_q.json", "test_a.json"))
    for name in ("empty", "text", "cut", "sound", "missing", "crash", "exit", "hang"):
        if name != "missing":
            shutil.copy(videos / "clip0.mp4", videos / f"{name}.mp4")
        asked.append({"question_id": name, "video_name": name, "question": "What?"})
        answers_.append({"question_id": name, "answer": "two", "type": "3"})
    asked.append({"question_id": "marker", "video_name": "clip0", "question": "Is <video> a word?"})
    answers_.append({"question_id": "marker", "answer": "two", "type": "3"})
    asked.append({"question_id": "outside", "video_name": "../secret", "question": "What?"})
    answers_.append({"question_id": "outside", "answer": "two", "type": "3"})
    (poisoned / "test_q.json").write_text(json.dumps(asked))
    (poisoned / "test_a.json").write_text(json.dumps(answers_))
    (videos / "empty.mp4").write_bytes(b"")
    (videos / "text.mp4").write_text("not a video")
    write_sound(videos / "sound.mp4")
    (videos / "cut.mp4").write_bytes((videos / "clip0.mp4").read_bytes()[:200])
    decoding = Decoding(workers=1, time_limit_seconds=3.0)
    work = work_on(poisoned, decode=hostile.decode, decoding=decoding, grace_seconds=1.0)
    rows = answers(small, work, tmp_path / "run")
    assert {key: row["prediction"] for key, row in rows.items() if row["failure"] is None} == expected
    failures = {key: row["failure"]["kind"] for key, row in rows.items() if row["failure"]}
    assert failures == {
        "empty": "NotAVideo", "text": "NotAVideo", "cut": failures["cut"], "sound": "NoVideoStream", "missing": "VideoMissing",
        "crash": "Crashed", "exit": "Crashed", "hang": "TimedOut", "marker": "BadQuestion", "outside": "BadVideoName",
    }  # fmt: skip
    counted = summary(work.samples, rows)
    assert (counted["questions"], counted["answered"], counted["failed"], counted["left"]) == (30, 20, 10, 0)
    again = answers(small, work, tmp_path / "run")
    assert again == rows


def test_kept_packs_decode_nothing_and_answer_the_same(small, folder, expected, tmp_path, monkeypatch):
    work = work_on(folder, cache=str(tmp_path / "packs"))
    first = answers(small, work, tmp_path / "first")
    monkeypatch.setattr("pipelines.evaluation.crew._Hand._start", lambda _: pytest.fail("a process was started"))
    second = answers(small, work, tmp_path / "second", batch=5)
    assert {key: row["prediction"] for key, row in second.items()} == expected
    assert second["q0_0"]["plan"].pop("from_cache") is not first["q0_0"]["plan"].pop("from_cache")
    assert second["q0_0"]["plan"] == first["q0_0"]["plan"]
    assert second["q0_0"]["video_seconds"].keys() == {"project", "prefix"}
    monkeypatch.undo()
    other = dataclasses.replace(work, look=dataclasses.replace(LOOK, method="stride"))
    assert answers(small, other, tmp_path / "third")["q0_0"]["plan"]["method"] == "stride"


def test_videos_with_and_without_a_kept_pack_go_through_one_run(small, folder, expected, tmp_path):
    work = work_on(folder, cache=str(tmp_path / "packs"))
    answers(small, work, tmp_path / "first", hand_out=iter(["clip1", "clip3"]))
    rows = answers(small, work, tmp_path / "second")
    assert {key: row["prediction"] for key, row in rows.items()} == expected
    kept = {row["video"] for row in rows.values() if row["plan"]["from_cache"]}
    assert kept == {"clip1", "clip3"}


def test_a_video_that_cannot_be_packed_costs_itself_alone(small, folder, expected, tmp_path, monkeypatch):
    pack = VideoLlava.pack_footage

    def mostly(self, footage, method, **options):
        if footage.plan.video_identity == identify(folder / "videos" / "clip2.mp4"):
            raise PlanMismatch("one frame too many")
        return pack(self, footage, method, **options)

    monkeypatch.setattr(VideoLlava, "pack_footage", mostly)
    rows = answers(small, work_on(folder), tmp_path / "run")
    failed = {
        key for key, row in rows.items() if row["failure"] == {"kind": "PlanMismatch", "reason": "one frame too many"}
    }
    assert failed == {key for key, row in rows.items() if row["video"] == "clip2"}
    assert {key: row["prediction"] for key, row in rows.items() if key not in failed}.items() <= expected.items()


def test_what_failed_is_asked_again_where_that_is_wanted(small, folder, expected, tmp_path):
    there = folder / "videos"
    work = work_on(folder, videos=list_videos(tmp_path))
    assert all(row["failure"]["kind"] == "VideoMissing" for row in answers(small, work, tmp_path / "run").values())
    work = work_on(folder, videos=list_videos(there))
    assert all(row["failure"] for row in answers(small, work, tmp_path / "run").values())
    with open_journal(str(tmp_path / "run"), {}, retry_failed=True) as journal:
        assert not journal.rows
        assert journal.num_failed == 0
    rows = answers(small, work, tmp_path / "run")
    assert {key: row["prediction"] for key, row in rows.items()} == expected


def test_a_damaged_pack_is_made_anew(small, folder, expected, tmp_path):
    work = work_on(folder, cache=str(tmp_path / "packs"))
    answers(small, work, tmp_path / "first")
    for pack in (tmp_path / "packs").rglob("*.vidzip"):
        pack.write_bytes(pack.read_bytes()[:-1])
    rows = answers(small, work, tmp_path / "second")
    assert {key: row["prediction"] for key, row in rows.items()} == expected


def test_blind_questions_need_no_video(small, folder, tmp_path):
    work = work_on(folder, videos=None, look=Look(budget=None))
    rows = answers(small, work, tmp_path / "run", batch=7)
    assert len(rows) == 20
    assert {row["visual_tokens"] for row in rows.values()} == {0}
    assert rows["q0_0"]["prediction"] == rows["q3_0"]["prediction"]


def test_videos_handed_out_are_the_only_ones_looked_at(small, folder, tmp_path):
    rows = answers(small, work_on(folder), tmp_path / "run", hand_out=iter(["clip2", "clip0"]))
    assert {row["video"] for row in rows.values()} == {"clip0", "clip2"}
