from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from vidzip import Budget, probe
from vidzip.models import measuring
from vidzip.models.fitting import Measurement
from vidzip.models.measuring import (
    AnswerTask,
    DecodeTask,
    EncodeTask,
    measure,
    measure_interleaved,
    pack_random,
    prepare,
    workload,
)
from vidzip.planner.costs import GENERATE
from vidzip.video.synthetic import SyntheticClip


@dataclass
class Fake:
    """Takes the given numbers of seconds, one after the other."""

    seconds: list[float]
    calls: list[str] = field(default_factory=list)
    name: str = ""

    def run(self) -> Measurement:
        self.calls.append(self.name)
        now = self.seconds.pop(0)
        return Measurement(workload=WORK, stage_seconds={"encode": now}, total_seconds=2 * now)


WORK = measuring.Workload(num_frames=4, num_encoded_frames=4, total_tokens=8, prompt_tokens=3)


def test_encoding_and_compression_are_measured(small):
    run = EncodeTask(model=small, num_frames=3, total_tokens=12).run()
    assert set(run.stage_seconds) == {"encode", "compress"}
    assert min(run.stage_seconds.values()) > 0
    assert (run.workload.num_frames, run.workload.total_tokens, run.workload.video, run.total_seconds) == (
        3,
        12,
        None,
        None,
    )


def test_the_language_model_is_measured_for_a_few_tokens(small):
    packed = pack_random(small, 2, 20)
    assert packed.num_tokens == 20
    run = AnswerTask(model=small, packed=packed).run()
    assert set(run.stage_seconds) == {"project", "prefill", GENERATE}
    assert min(run.stage_seconds.values()) > 0
    assert run.workload.prompt_tokens == small.family.prompt(measuring.QUESTION).num_tokens


@pytest.mark.parametrize("is_end_to_end", [False, True])
def test_a_file_is_decoded_alone_and_end_to_end(small, clip, is_end_to_end):
    info = probe(clip)
    plan = small.plan(info, Budget(total_tokens=10, num_frames=5))
    run = DecodeTask(model=small, info=info, plan=plan, is_end_to_end=is_end_to_end).run()
    assert set(run.stage_seconds) == ({"decode", "preprocess"} if is_end_to_end else {"decode"})
    assert min(run.stage_seconds.values()) > 0
    assert (run.total_seconds is not None) == is_end_to_end
    if run.total_seconds is not None:
        assert run.total_seconds > run.stage_seconds["preprocess"]
    assert run.workload.video is not None
    assert run.workload.video.codec == "h264"
    assert run.workload.num_frames == 5


def test_frames_are_counted_in_whole_clips(small, monkeypatch):
    monkeypatch.setattr(type(small), "frames_per_clip", 8)
    assert workload(small, 9, 18).num_encoded_frames == 16
    assert workload(small, 8, 18).num_encoded_frames == 8


def test_tasks_are_interleaved_and_medians_returned():
    calls: list[str] = []
    first, second = Fake([1, 50, 2], calls, "first"), Fake([5, 3, 4], calls, "second")
    found = measure_interleaved([first, second], rounds=3)
    assert [run.stage_seconds["encode"] for run in found] == [2, 4]
    assert [run.total_seconds for run in found] == [4, 8]
    assert [sorted(calls[turn : turn + 2]) for turn in (0, 2, 4)] == [["first", "second"]] * 3


def test_no_further_round_begins_after_the_time_limit():
    found = measure_interleaved([Fake([1, 2, 3])], rounds=3, max_seconds=-1)
    assert found[0].stage_seconds["encode"] == 1


def test_a_slow_task_leaves_out_larger_ones(monkeypatch):
    tasks = [Fake([1.0]) for _ in range(6)]
    assert len(measuring._warm_up(tasks)) == 6
    monkeypatch.setattr(measuring, "_MAX_SECONDS", -1.0)
    calls: list[str] = []
    slow = [Fake([1.0], calls) for _ in range(6)]
    assert measuring._warm_up(slow) == slow[:3]
    assert len(calls) == 3


@pytest.fixture
def short_clips(monkeypatch):
    """Small clips."""
    made = [
        SyntheticClip(codec="h264", width=64, height=48, num_frames=12, keyframe_interval=4, grain=grain)
        for grain in (0, 9)
    ]
    monkeypatch.setattr(measuring, "_clips", lambda quick: iter(made))


@pytest.mark.usefixtures("short_clips")
def test_all_tasks_are_prepared_and_measured(small, tmp_path):
    tasks = prepare(small, str(tmp_path / "new"), quick=True, show=lambda *_: None)
    kinds = {kind: [one for one in tasks if isinstance(one, kind)] for kind in (EncodeTask, AnswerTask, DecodeTask)}
    frames = [one.num_frames for one in kinds[EncodeTask]]
    assert frames[0] == 1 < small.batch_frames < frames[-1]
    assert frames == sorted(set(frames))
    tokens = [one.packed.num_tokens for one in kinds[AnswerTask]]
    assert tokens == sorted(set(tokens))
    assert tokens[-1] <= 8 * small.tokens_per_frame
    assert sum(one.is_end_to_end for one in kinds[DecodeTask]) == 2

    stages: list[str] = []
    runs = measure(small, quick=True, on_progress=lambda stage, *_: stages.append(stage))
    assert len(runs) == len(tasks)
    assert all(seconds > 0 for run in runs for seconds in run.stage_seconds.values())
    assert list(dict.fromkeys(stages)) == ["write videos", "warm up", "measure"]


def test_clips_differ_in_size_keyframes_and_bytes():
    quick, full = (list(measuring._clips(quick=quick)) for quick in (True, False))
    assert {trial.codec for trial in quick} == {"h264"}
    assert full[: len(quick)] == quick
    h264 = [trial for trial in full if trial.codec == "h264"]
    for name in ("width", "keyframe_interval", "grain"):
        assert len({getattr(trial, name) for trial in h264}) >= 3, name
    for codec in {trial.codec for trial in full} - {"h264"}:
        assert sum(trial.codec == codec for trial in full) == 2
