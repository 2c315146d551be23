from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import nnls

from vidzip.errors import BadArgument
from vidzip.models.fitting import (
    MIN_DECODE_ERROR,
    MIN_ERROR,
    Measurement,
    fit,
    fit_rates,
    nonnegative_least_squares,
)
from vidzip.planner.costs import GENERATE, STAGES, CostModel, VideoStats, Workload
from vidzip.planner.model_shapes import VIDEO_LLAVA_7B

RATES = {
    "decode": {
        "files": 0.004,
        "groups": 0.002,
        "h264 megapixels": 0.002,
        "h264 megabytes": 0.05,
        "hevc megapixels": 0.003,
        "hevc megabytes": 0.1,
        "taken frames": 0.001,
        "taken megapixels": 0.003,
    },
    "preprocess": {"frames": 0.0005, "megapixels": 0.001},
    "encode": {"runs": 0.005, "frames": 0.02},
    "compress": {"runs": 0.001, "frames": 0.0002, "tokens": 1e-5},
    "project": {"runs": 0.0005, "tokens": 2e-6},
    "prefill": {"runs": 0.008, "tokens": 5e-5, "pairs": 2e-8},
    GENERATE: {"runs": 0.004, "tokens": 1e-6},
}


def truth(overlap: float = 0.3) -> CostModel:
    return CostModel(
        shape=VIDEO_LLAVA_7B,
        device="a made-up one",
        dtype="float32",
        rates=RATES,
        errors=dict.fromkeys((*STAGES, GENERATE), 0.0),
        total_error=0.0,
        overlap=overlap,
        is_calibrated=True,
    )


def workloads() -> list[Workload]:
    dice = np.random.default_rng(0)
    works = []
    for number in range(24):
        stats = VideoStats(
            num_frames=int(dice.integers(60, 400)),
            num_keyframes=int(dice.choice([1, 2, 5, 20])),
            pixels=int(dice.choice([320 * 240, 640 * 360, 1280 * 720])),
            frame_bytes=dice.uniform(500, 40_000),
            codec="hevc" if number % 4 == 0 else "h264",
        )
        frames = int(dice.integers(2, 50))
        works.append(
            Workload(
                num_frames=frames,
                num_encoded_frames=frames,
                total_tokens=int(dice.choice([16, 136, 544, 1088, 2056])),
                prompt_tokens=20,
                video=stats,
            )
        )
    return works


def runs(costs: CostModel, noise: float = 0.0) -> list[Measurement]:
    """What would be measured on a machine of just these costs, where clocks are off by some share."""
    dice = np.random.default_rng(1)

    def off() -> float:
        return 1 + noise * dice.uniform(-1, 1)

    made = []
    for work in workloads():
        predicted = costs.predict(work)
        stages = {stage: cost.seconds * off() for stage, cost in predicted.stages.items()}
        stages[GENERATE] = predicted.seconds_per_new_token.seconds * off()
        made.append(Measurement(workload=work, stage_seconds=stages, total_seconds=predicted.seconds * off()))
    return made


def fitted(made: list[Measurement]) -> CostModel:
    return fit(made, VIDEO_LLAVA_7B, "a made-up one", "float32")


def test_least_squares_by_hand():
    # x = (1, -1) would be exact; without negative numbers the first alone is left: 3 x = 1 + 2, so x = 0.6
    matrix = np.array([[1.0, 0.0], [2.0, 1.0]])
    assert nonnegative_least_squares(matrix, np.array([1.0, 1.0])) == pytest.approx([0.6, 0.0])


numbers = st.floats(-100, 100).filter(lambda number: number == 0 or abs(number) > 1e-3)


@given(st.data(), st.integers(1, 8), st.integers(1, 5))
def test_least_squares_are_as_small_as_scipys(data, rows, columns):
    matrix = data.draw(arrays(float, (rows, columns), elements=numbers))
    target = data.draw(arrays(float, rows, elements=numbers))
    found = nonnegative_least_squares(matrix, target)
    assert (found >= 0).all()
    _, least = nnls(matrix, target)
    assert np.linalg.norm(matrix @ found - target) <= least + 1e-6 * (1 + np.linalg.norm(target))


@given(st.lists(st.floats(1e-6, 1e3), min_size=3, max_size=3))
def test_known_rates_are_found(rates):
    kinds = ("runs", "frames", "pairs")
    amounts = [{"runs": 1, "frames": n, "pairs": n * n} for n in (1, 3, 10, 40, 100)]
    known = dict(zip(kinds, rates, strict=True))
    seconds = [sum(known[kind] * row[kind] for kind in kinds) for row in amounts]
    predicted = [sum(fit_rates(amounts, seconds)[kind] * row[kind] for kind in kinds) for row in amounts]
    assert predicted == pytest.approx(seconds, rel=1e-6)


def test_a_delayed_measurement_is_down_weighted():
    amounts = [{"runs": 1, "frames": n} for n in (1, 2, 4, 8, 16, 24, 32)]
    seconds = [0.01 + 0.02 * row["frames"] * (1.01 if place % 2 else 0.99) for place, row in enumerate(amounts)]
    seconds[3] *= 10
    assert fit_rates(amounts, seconds)["frames"] == pytest.approx(0.02, rel=0.05)


def test_rates_and_overlap_are_recovered():
    costs = fitted(runs(truth(overlap=0.3)))
    for stage, rates in RATES.items():
        assert {kind: costs.rates[stage][kind] for kind in rates} == pytest.approx(rates, rel=1e-3), stage
    assert costs.overlap == pytest.approx(0.3, abs=1e-3)
    assert costs.is_calibrated
    for work in workloads():
        assert costs.predict(work).seconds == pytest.approx(truth().predict(work).seconds, rel=1e-3)


def test_errors_have_a_lower_bound_which_is_larger_for_decoding():
    costs = fitted(runs(truth()))
    assert costs.errors == {**dict.fromkeys((*STAGES, GENERATE), MIN_ERROR), "decode": MIN_DECODE_ERROR}
    assert costs.total_error == MIN_ERROR


def test_noise_widens_errors():
    quiet, loud = (fitted(runs(truth(), noise)) for noise in (0.05, 0.4))
    for stage in (*STAGES, GENERATE):
        assert MIN_ERROR <= quiet.errors[stage] <= loud.errors[stage], stage
    assert loud.errors["encode"] > 2 * quiet.errors["encode"]
    assert loud.total_error > 2 * quiet.total_error


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_nine_of_ten_new_measurements_are_within_the_errors(noise):
    costs = fitted(runs(truth(), noise))
    dice = np.random.default_rng(2)
    for stage in ("encode", "prefill"):
        within = 0
        for work in workloads() * 10:
            measured = truth().predict(work).stages[stage].seconds * (1 + noise * dice.uniform(-1, 1))
            within += abs(costs.predict(work).stages[stage].seconds / measured - 1) <= costs.errors[stage]
        assert within >= 0.85 * 240


def test_fits_are_deterministic():
    noisy = runs(truth(), 0.2)
    assert fitted(noisy) == fitted(noisy)


@pytest.mark.parametrize(("hides", "found"), [(-0.5, 0.0), (1.5, 1.0)])
def test_overlap_is_between_0_and_1(hides, found):
    assert fitted(runs(truth(overlap=hides))).overlap == found


def test_unmeasured_codecs_get_rates_relative_to_h264():
    rates = fitted(runs(truth())).rates["decode"]
    assert rates["hevc megabytes"] == pytest.approx(0.1, rel=1e-3)  # measured
    assert rates["vp8 megapixels"] == pytest.approx(2 * rates["h264 megapixels"])
    assert rates["other megabytes"] > rates["h264 megabytes"]


def without(made: list[Measurement], stage: str) -> list[Measurement]:
    kept = [
        replace(run, stage_seconds={key: value for key, value in run.stage_seconds.items() if key != stage})
        for run in made
    ]
    return [made[0], *kept[1:]]


def test_too_few_measurements_are_refused():
    made = runs(truth())
    with pytest.raises(BadArgument, match="'prefill' was measured 1 times"):
        fitted(without(made, "prefill"))
    with pytest.raises(BadArgument, match="total"):
        fitted([replace(run, total_seconds=None) for run in made])
    with pytest.raises(BadArgument, match=r"H\.264"):
        fitted([run for run in made if run.workload.video.codec == "hevc"])
