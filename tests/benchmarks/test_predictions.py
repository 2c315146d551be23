from __future__ import annotations

import json

import pytest
import torch

from benchmarks import predictions
from benchmarks.predictions import (
    CASES,
    GENERATE,
    STAGES,
    TOTAL,
    Case,
    Outcome,
    by_error,
    compare,
    describe_worst,
    main,
    percentile_90,
    wide,
)
from vidzip.models import measuring
from vidzip.models.fitting import Measurement
from vidzip.planner.assumed_costs import default_costs
from vidzip.planner.costs import VideoStats, Workload
from vidzip.planner.model_shapes import VIDEO_LLAVA_7B
from vidzip.video.synthetic import SyntheticClip


def outcome(off: float, *, decode: float = 1.0, codec: str = "h264") -> Outcome:
    measured = {**dict.fromkeys((*STAGES, GENERATE), 0.5), "decode": decode, TOTAL: 4.0}
    predicted = {what: seconds * (1 + off) for what, seconds in measured.items()}
    return Outcome(title=f"{off}", codec=codec, predicted=predicted, measured=measured)


def test_enough_cases_of_enough_kinds():
    assert 2 * len(CASES) >= 40
    written = {case.video for case in CASES if isinstance(case.video, SyntheticClip)}
    assert {trial.codec for trial in written} == {"h264", "hevc", "vp9", "mpeg4"}
    assert len({(case.video, case.frames, case.tokens) for case in CASES}) == len(CASES)


def test_no_case_is_part_of_the_calibration():
    calibrated = {(trial.codec, trial.width, trial.keyframe_interval) for trial in measuring._clips(quick=False)}
    drawn = {case.video for case in CASES if isinstance(case.video, SyntheticClip)}
    assert not {(trial.codec, trial.width, trial.keyframe_interval) for trial in drawn} & calibrated


def test_predictions_are_compared_with_measurements():
    stats = VideoStats(num_frames=100, num_keyframes=4, pixels=10**6, frame_bytes=5000, codec="vp9")
    work = Workload(num_frames=8, num_encoded_frames=8, total_tokens=136, prompt_tokens=20, video=stats)
    costs = default_costs(VIDEO_LLAVA_7B, "cuda")
    predicted = costs.predict(work)
    stages = {stage: 2 * cost.seconds for stage, cost in predicted.stages.items()}
    run = Measurement(
        workload=work,
        stage_seconds={**stages, GENERATE: predicted.seconds_per_new_token.seconds},
        total_seconds=predicted.seconds / 2,
    )
    found = compare("one", run, costs)
    assert found.errors == pytest.approx({**dict.fromkeys(stages, -0.5), GENERATE: 0.0, TOTAL: 1.0})
    assert found.codec == "vp9"
    assert found.decoding_share == pytest.approx(stages["decode"] / sum(stages.values()))
    assert found.record()["decoding_share"] == found.decoding_share


def test_the_worst_come_first_and_are_described():
    some = [outcome(0.1), outcome(-0.6, decode=7.5, codec="vp9"), outcome(0.2), outcome(0.5, decode=7.5)]
    assert [one.title for one in by_error(some)] == ["-0.6", "0.5", "0.2", "0.1"]
    described = describe_worst(some, 2)
    assert all(value in described for value in ("2 worst", "1 are too high", "1 too low", "h264, vp9", "75%", "52%"))


def test_a_row_of_the_summary():
    rows = {row[0]: row[1:] for row in predictions.summary_rows([outcome(off / 10) for off in range(-5, 6)])}
    assert rows[TOTAL] == ["11", "30%", "50%", "50%", "+0%"]
    assert list(rows) == [TOTAL, *STAGES, GENERATE]  # decoding is most of none
    row = predictions.summary_rows([outcome(0.1), outcome(0.3, decode=9.0)])[1]
    assert row[1:3] == ["1", "30%"]


@pytest.mark.parametrize(("values", "found"), [([0.4], 0.4), ([0.0, 1.0], 0.9), (list(range(11)), 9)])
def test_the_ninetieth_percentile(values, found):
    assert percentile_90(values) == pytest.approx(found)


def test_the_wide_model_is_wider_and_the_same_every_time(small):
    one, other = wide(torch.device("cpu")), wide(torch.device("cpu"))
    assert one.tower_fingerprint == other.tower_fingerprint
    assert one.config.text_config.hidden_size > small.config.text_config.hidden_size
    run = measuring.EncodeTask(model=one, num_frames=1, total_tokens=4).run()
    assert min(run.stage_seconds.values()) > 0


@pytest.fixture
def short(monkeypatch):
    """Two cases, and a calibration, of small clips."""
    given = {"codec": "h264", "width": 64, "height": 48, "num_frames": 12}
    made = [SyntheticClip(keyframe_interval=4, grain=grain, **given) for grain in (0, 9)]
    monkeypatch.setattr(measuring, "_clips", lambda quick: iter(made))
    drawn = SyntheticClip(keyframe_interval=6, grain=3, **given)
    cases = (
        Case(video="videos/bikes.mp4", frames=2, tokens=8),
        Case(video=drawn, frames=3, tokens=6),
        Case(video=drawn, frames=6, tokens=6),
    )
    monkeypatch.setattr(predictions, "CASES", cases)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("extra", [[], pytest.param(["--together", "--markdown"], marks=pytest.mark.slow)])
def test_synthetic_clips_are_predicted_and_measured(tmp_path, capsys, extra):
    out = tmp_path / "figures.json"
    arguments = ["--models", "tiny", "--device", "cpu", "--rounds", "1", "--quick", "--json", str(out), *extra]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert TOTAL in printed
    assert "of the 2 worst" in printed  # the real video is skipped
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert [len(one["measured_seconds"]) for one in figures["configurations"]] == [len(STAGES) + 2] * 2
    for one in figures["configurations"]:
        assert set(one["predicted_seconds"]) == set(one["measured_seconds"]) == {*STAGES, GENERATE, TOTAL}
        assert min(one["measured_seconds"].values()) > 0
    assert set(figures["calibrations"]) == {"tiny"}


@pytest.mark.usefixtures("short")
def test_nothing_to_measure_is_an_error(capsys, tmp_path):
    assert main(["--models", "tiny", "--device", "cpu", "--rounds", "1", "--quick", "--cases", "1"]) == 2
    assert "folder of test data" in capsys.readouterr().err
    assert main([str(tmp_path), "--models", "tiny", "--device", "cpu", "--rounds", "1", "--cases", "1"]) == 2
    assert "bikes.mp4" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--rounds", "0"])
