from __future__ import annotations

import pytest
import torch

from pipelines.bench.measuring import FROM_FILE, CaseResult
from pipelines.bench.predicting import FROM_ENCODING, costs_of, predict
from pipelines.bench.settings import FILE, PUBLISHED, VIDZIP, Case
from pipelines.bench.variants import MeasuredModel
from vidzip import probe
from vidzip.models.calibrating import model_shape
from vidzip.planner.costs import CostModel, Workload, video_stats

QUESTION = "What is the color of the star?"


@pytest.fixture(scope="module")
def bench_model(small):
    return MeasuredModel(model=small, eager_tower=torch.nn.Identity(), question=QUESTION)


def work_on(video):
    stats = video_stats(probe(video))
    return Workload(num_frames=4, num_encoded_frames=4, total_tokens=20, prompt_tokens=9, video=stats)


@pytest.fixture(scope="module")
def costs(small, clip):
    rates = {
        "decode": {**dict.fromkeys(work_on(clip).amounts()["decode"], 0.0), "files": 10.0},
        "preprocess": {"frames": 0.1, "megapixels": 0.0},
        "encode": {"runs": 1.0, "frames": 0.5},
        "compress": {"runs": 0.0, "frames": 0.0, "tokens": 0.01},
        "project": {"runs": 0.0, "tokens": 0.02},
        "prefill": {"runs": 2.0, "tokens": 0.0, "pairs": 0.0},
        "generate": {"runs": 0.25, "tokens": 0.0},
    }
    return CostModel(
        shape=model_shape(small), device="made up", dtype="float32", rates=rates,
        errors=dict.fromkeys(rates, 0.2), total_error=0.1, overlap=1.0, is_calibrated=True,
    )  # fmt: skip


def measured(variant, seconds, video=None):
    case = Case(variant=variant, dtype="float32", frames=4, tokens=20, video=video)
    return CaseResult(case=case, rounds=(seconds, seconds))


def test_by_hand(bench_model, costs):
    seconds = {"preprocess": 0.5, "encode": 3.0, "compress": 0.1, "project": 0.4, "prefill": 4.0, "generate": 0.25}
    found = {
        one.name: one for one in predict([measured(VIDZIP, seconds)], {"float32": bench_model}, {"float32": costs})
    }
    assert {what: one.predicted for what, one in found.items()} == {
        "encode": pytest.approx(1 + 4 * 0.5),
        "compress": pytest.approx(20 * 0.01),
        "project": pytest.approx(20 * 0.02),
        "prefill": pytest.approx(2.0),
        "generate": pytest.approx(0.25),
        FROM_ENCODING: pytest.approx(3.0 + 0.2 + 0.4 + 2.0),
    }
    assert found["prefill"].relative_error == pytest.approx(-0.5)
    assert found["generate"].relative_error == pytest.approx(0)
    assert found[FROM_ENCODING].measured == pytest.approx(3.0 + 0.1 + 0.4 + 4.0)
    assert (found["encode"].error, found[FROM_ENCODING].error, found["encode"].measured) == (0.2, 0.1, 3.0)


def test_a_tower_alone_has_fewer_predictions(bench_model, costs):
    seconds = {"preprocess": 0.5, "encode": 3.0, "compress": 0.1}
    found = predict([measured(VIDZIP, seconds)], {"float32": bench_model}, {"float32": costs})
    assert [one.name for one in found] == ["encode", "compress"]


def test_from_a_file_decoding_overlaps(bench_model, costs, clip):
    file = measured(FILE, {"decode": 5.0, FROM_FILE: 8.0}, str(clip))
    (found,) = predict([file], {"float32": bench_model}, {"float32": costs})
    assert found.predicted == pytest.approx(10 + 0.4 + 3.0 + 0.2 + 0.4 + 2.0 - 3.4)
    assert (found.name, found.measured) == (FROM_FILE, 8.0)


def test_only_vidzips_variants_are_predicted(bench_model, costs):
    assert not list(predict([measured(PUBLISHED, {"encode": 1.0})], {"float32": bench_model}, {"float32": costs}))


def test_calibrated_costs_take_precedence_over_assumed_ones(small, costs, monkeypatch):
    asked = []
    monkeypatch.setattr("pipelines.bench.predicting.find_costs", lambda *of: asked.append(of))
    assumed = costs_of(small)
    assert not assumed.is_calibrated
    assert assumed.shape.weight_bytes == pytest.approx(sum(w.nbytes for w in small.network.parameters()), rel=0.02)
    assert asked == [("tiny-random", "cpu", "float32")]
    monkeypatch.setattr("pipelines.bench.predicting.find_costs", lambda *_: costs)
    assert costs_of(small) is costs
