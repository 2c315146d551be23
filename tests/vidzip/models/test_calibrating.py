from __future__ import annotations

import pytest

from vidzip import load
from vidzip.calibration import find_costs, save_calibration
from vidzip.models import measuring
from vidzip.models.calibrating import calibrate, machine_of, model_shape
from vidzip.models.fitting import MIN_ERROR
from vidzip.models.measuring import workload
from vidzip.planner.costs import GENERATE, STAGES
from vidzip.video.synthetic import SyntheticClip


@pytest.fixture(scope="module")
def calibration(small):
    """A calibration of the random model on small clips."""
    made = [
        SyntheticClip(codec="h264", width=64, height=48, num_frames=16, keyframe_interval=4, grain=grain)
        for grain in (0, 9)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "_clips", lambda quick: iter(made))
        return calibrate(small, asked_device="cpu", asked_dtype="float32", quick=True)


def test_the_model_shape_is_that_of_the_loaded_model(built_in):
    shape = model_shape(built_in)
    assert shape.name == built_in.name
    assert shape.tokens_per_frame == built_in.tokens_per_frame == 257
    assert (shape.frames_per_clip, shape.frames_at_once) == (1, built_in.batch_frames)
    assert shape.weight_bytes == 4 * sum(weight.numel() for weight in built_in.network.parameters())
    assert shape.frame_bytes == built_in.activation_bytes_per_frame
    assert 0 < shape.language_bytes < shape.weight_bytes
    assert shape.prompt_tokens == workload(built_in, 1, 1).prompt_tokens


def test_half_precision_halves_memory():
    whole, half = (model_shape(load("tiny-random", device="cpu", dtype=dtype)) for dtype in ("float32", "bfloat16"))
    for name in ("weight_bytes", "language_bytes", "frame_bytes", "token_bytes"):
        assert getattr(half, name) * 2 == getattr(whole, name), name


def test_a_calibration_predicts_every_stage_of_a_workload(small, calibration, clip):
    from vidzip import probe

    costs = calibration.costs
    predicted = costs.predict(workload(small, 8, 136, probe(clip)))
    assert set(predicted.stages) == set(STAGES)
    assert predicted.is_calibrated
    assert predicted.seconds > 0
    assert all(costs.errors[stage] >= MIN_ERROR for stage in (*STAGES, GENERATE))
    assert costs.total_error >= MIN_ERROR
    assert 0 <= costs.overlap <= 1
    assert all(rate >= 0 for rates in costs.rates.values() for rate in rates.values())


def test_more_frames_and_more_tokens_never_cost_less(small, calibration):
    seconds = [calibration.costs.predict(workload(small, frames, 8 * frames)).seconds for frames in (1, 8, 64, 256)]
    assert seconds == sorted(seconds)


def test_it_is_saved_and_found_for_its_machine(small, calibration, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert calibration.machine == machine_of(small)
    assert (calibration.machine.device, calibration.machine.dtype) == ("cpu", "float32")
    assert calibration.machine.description.startswith("cpu, ")
    assert calibration.took_seconds > 0
    save_calibration(calibration)
    assert find_costs("tiny-random", "cpu", "float32") == calibration.costs
    assert find_costs("tiny-random") is None  # nobody asked for "auto" when it was measured
