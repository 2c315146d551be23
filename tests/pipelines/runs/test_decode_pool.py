from __future__ import annotations

import dataclasses
import multiprocessing
import shutil
import time
from contextlib import closing

import hostile
import pytest
from clips import write_numbered

from pipelines.runs.decode_pool import DecodeJob, decode_ahead
from pipelines.runs.run_log import Failure
from vidzip import Budget, DecodeOptions, decode, plan
from vidzip.video.resizing import Shape

SHAPE = Shape(size=56, crop=(56, 56))


def job(path, key="", **changes):
    made = DecodeJob(
        key=key or path.name,
        path=str(path),
        budget=Budget(num_frames=8),
        shape=SHAPE,
        max_tokens_per_frame=257,
        frames_per_clip=1,
        decoding=DecodeOptions(workers=1),
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number in range(4):
        write_numbered(folder / f"{number}.mp4", num_frames=20 + number)
    return folder


def test_frames_decoded_ahead_equal_frames_decoded_here(clips):
    jobs = [job(clips / f"{number}.mp4") for number in range(4)]
    done = {one.job.key: one.outcome for one in decode_ahead(jobs, 2)}
    assert set(done) == {f"{number}.mp4" for number in range(4)}
    for number in range(4):
        replanned, there = done[f"{number}.mp4"]
        planned = plan(clips / f"{number}.mp4", Budget(num_frames=8))
        frames = decode(clips / f"{number}.mp4", planned.timestamps_seconds, size=56, crop=56)
        assert replanned == planned
        assert there.pixels.equal(frames.pixels)
        assert there.timestamps_seconds == frames.timestamps_seconds


def test_a_video_that_crashes_or_hangs_its_process_affects_no_other(clips, tmp_path):
    names = ["a.mp4", "crash.mp4", "exit.mp4", "b.mp4", "hang.mp4", "empty.mp4", "raise.mp4", "c.mp4"]
    for name in names:
        shutil.copy(clips / "0.mp4", tmp_path / name)
    (tmp_path / "empty.mp4").write_bytes(b"")
    jobs = [
        job(tmp_path / name, decoding=DecodeOptions(workers=1, time_limit_seconds=2.0 if name == "hang.mp4" else 60.0))
        for name in names
    ]
    jobs.append(job(tmp_path / "missing.mp4"))
    done = {one.job.key: one.outcome for one in decode_ahead(jobs, 2, hostile.decode, grace_seconds=1.0)}
    failures = {key: outcome.kind for key, outcome in done.items() if isinstance(outcome, Failure)}
    assert failures == {
        "crash.mp4": "Crashed", "exit.mp4": "Crashed", "hang.mp4": "TimedOut", "raise.mp4": "Crashed",
        "empty.mp4": "NotAVideo", "missing.mp4": "VideoNotFound",
    }  # fmt: skip
    assert "SIGSEGV" in done["crash.mp4"].reason
    assert "exit code 7" in done["exit.mp4"].reason
    assert "3 s" in done["hang.mp4"].reason
    assert all(done[name][1].pixels.shape == (8, 3, 56, 56) for name in ("a.mp4", "b.mp4", "c.mp4"))


def test_seconds_are_those_of_the_process_however_late_its_result_is_taken(clips):
    jobs = [job(clips / "0.mp4", "slow-0"), job(clips / "0.mp4", "slow-1")]
    with closing(decode_ahead(jobs, 1, hostile.decode)) as decoded:
        next(decoded)
        time.sleep(1.5)  # the second is decoded in this time
        assert next(decoded).seconds >= 0.4


def test_closing_ends_all_processes(clips):
    before = set(multiprocessing.active_children())
    with closing(decode_ahead((job(clips / "0.mp4", str(i)) for i in range(100)), 2)) as decoded:
        next(decoded)
        assert len(set(multiprocessing.active_children()) - before) == 2
    assert set(multiprocessing.active_children()) == before


def test_each_process_decodes_one_video_ahead_at_most(clips):
    taken = []

    def jobs():
        for i in range(50):
            taken.append(i)
            yield job(clips / "1.mp4", str(i))

    with closing(decode_ahead(jobs(), 2)) as decoded:
        for number in range(3):
            next(decoded)
            assert len(taken) <= number + 3


def test_other_items_than_jobs_are_yielded_as_they_are(clips):
    results = list(decode_ahead(["a", job(clips / "0.mp4"), "b"], 1))
    assert len(results) == 3
    assert [one for one in results if isinstance(one, str)] == ["a", "b"]
    assert list(decode_ahead([], 3)) == []
