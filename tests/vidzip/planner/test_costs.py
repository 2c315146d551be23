from __future__ import annotations

import math
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import video

from vidzip import Budget, PackedVideo, load
from vidzip.errors import BadArgument
from vidzip.planner import VIDEO_LLAVA_7B, default_costs, default_dtype, plan_with_report
from vidzip.planner.assumed_costs import device_kind
from vidzip.planner.costs import GENERATE, STAGES, CostModel, VideoStats, Workload, video_stats

STATS = VideoStats(num_frames=1000, num_keyframes=10, pixels=2_000_000, frame_bytes=10_000.0, codec="h264")
WORK = Workload(num_frames=20, num_encoded_frames=24, total_tokens=136, prompt_tokens=50, video=STATS)


def plain(**changes) -> CostModel:
    """A cost model of one second for every unit of work."""
    fields = {
        "shape": VIDEO_LLAVA_7B,
        "device": "some",
        "dtype": "float16",
        "rates": {stage: dict.fromkeys(amounts, 1.0) for stage, amounts in WORK.amounts().items()},
        "errors": dict.fromkeys((*STAGES, GENERATE), 0.1),
        "total_error": 0.2,
        "overlap": 0.0,
        "is_calibrated": True,
    }
    return CostModel(**{**fields, **changes})


def test_a_prediction_is_amounts_times_rates():
    amounts, costs = WORK.amounts(), plain().predict(WORK)
    assert {stage: one.seconds for stage, one in costs.stages.items()} == {
        stage: sum(amounts[stage].values()) for stage in STAGES
    }
    assert costs.seconds == pytest.approx(sum(sum(amounts[stage].values()) for stage in STAGES))
    assert costs.seconds_per_new_token.seconds == 1 + 136 + 50
    assert {one.error for one in costs.stages.values()} == {0.1}
    assert costs.is_calibrated
    # The total errs by 0.2, and by 0.1 of decoding: independent errors add in quadrature.
    assert costs.error == pytest.approx(math.hypot(0.2, 0.1 * costs.stages["decode"].seconds / costs.seconds))
    assert plain().predict(replace(WORK, video=None)).error == 0.2
    assert costs.peak_bytes == VIDEO_LLAVA_7B.peak_bytes(WORK)


def test_decoding_overlaps_with_preprocessing_and_encoding():
    alone, half = plain().predict(WORK), plain(overlap=0.5).predict(WORK)
    beside = alone.stages["preprocess"].seconds + alone.stages["encode"].seconds
    assert alone.seconds - half.seconds == pytest.approx(min(alone.stages["decode"].seconds, beside) / 2)


def test_without_a_video_nothing_is_decoded():
    costs = default_costs(VIDEO_LLAVA_7B, "cpu").predict(replace(WORK, video=None))
    assert "decode" not in costs.stages
    assert costs.seconds == pytest.approx(sum(one.seconds for one in costs.stages.values()))


@pytest.mark.parametrize("kind", ["cpu", "cuda", "mps"])
def test_assumed_rates_cover_all_stages_and_codecs(kind):
    costs = default_costs(VIDEO_LLAVA_7B, kind)
    assert (costs.device, costs.dtype, costs.is_calibrated) == (kind, default_dtype(kind), False)
    for codec in ("h264", "av1", "something"):
        predicted = costs.predict(replace(WORK, video=replace(STATS, codec=codec)))
        assert all(one.seconds > 0 and one.error >= 1 for one in predicted.stages.values())
        assert predicted.seconds_per_new_token.seconds > 0


def test_assumed_seconds_are_flop_divided_by_speed():
    cpu, cuda = (default_costs(VIDEO_LLAVA_7B, kind).predict(WORK) for kind in ("cpu", "cuda"))
    # 24 frames of 155 GFLOP: 75 s at 50 GFLOP/s; 0.25 s at 15 TFLOP/s, plus the start.
    assert cpu.stages["encode"].seconds == pytest.approx(24 * 155.3e9 / 5e10, rel=0.01)
    assert cuda.stages["encode"].seconds == pytest.approx(24 * 155.3e9 / 1.5e13 + 0.02, rel=0.01)


def test_unknown_devices_and_work_without_a_rate_are_refused():
    with pytest.raises(BadArgument, match="unknown device 'abacus'"):
        default_costs(VIDEO_LLAVA_7B, "abacus")
    assert device_kind("cuda:3") == "cuda"
    with pytest.raises(BadArgument, match="'decode', 'av1 mega"):
        plain().predict(replace(WORK, video=replace(STATS, codec="av1")))


works = st.builds(
    lambda frames, clip, tokens, available, keys: Workload(
        num_frames=frames,
        num_encoded_frames=frames + -frames % clip,
        total_tokens=tokens,
        prompt_tokens=50,
        video=replace(STATS, num_frames=available, num_keyframes=min(keys, available)),
    ),
    frames=st.integers(1, 300),
    clip=st.sampled_from([1, 8]),
    tokens=st.integers(1, 3000),
    available=st.integers(1, 5000),
    keys=st.integers(1, 200),
)


@given(works, st.sampled_from(["cpu", "cuda", "mps"]), st.floats(0, 1))
def test_law_seconds_equal_those_of_the_full_prediction(work, kind, overlap):
    costs = replace(default_costs(VIDEO_LLAVA_7B, kind), overlap=overlap)
    assert costs.seconds(work) == costs.predict(work).seconds


@given(works, st.integers(0, 50), st.integers(0, 500), st.floats(0, 1))
def test_law_more_frames_and_tokens_never_cost_less(work, frames, tokens, overlap):
    costs = replace(default_costs(VIDEO_LLAVA_7B, "cuda"), overlap=overlap)
    clip = 1 if work.num_encoded_frames == work.num_frames else 8
    count = work.num_frames + frames
    more = replace(
        work, num_frames=count, num_encoded_frames=count + -count % clip, total_tokens=work.total_tokens + tokens
    )
    assert costs.seconds(more) >= costs.seconds(work) - 1e-12
    assert costs.shape.peak_bytes(more) >= costs.shape.peak_bytes(work)


@pytest.mark.parametrize(("frames", "tokens"), [(8, 136), (34, 136), (50, 50), (50, 12_850)])
def test_the_size_of_a_pack_is_predicted(clip, tmp_path, frames, tokens):
    from vidzip.planner import Architecture

    model = load("tiny", device="cpu", dtype="float32")
    shape = Architecture.from_config(model.config.to_dict()).model_shape("tiny", "float32")
    packed: PackedVideo = model.pack(clip, model.plan(clip, Budget(total_tokens=tokens, num_frames=frames)))
    path = tmp_path / "clip.vidzip"
    packed.save(path)
    assert shape.pack_bytes(frames, tokens) == pytest.approx(os.path.getsize(path), rel=0.02)
    assert replace(shape, packed_width=None).pack_bytes(frames, tokens) is None


def test_costs_of_a_plan_are_those_of_its_workload():
    costs = default_costs(VIDEO_LLAVA_7B, "cuda")
    report = plan_with_report(video(), Budget(num_frames=20), costs=costs, frames_per_clip=8)
    work = Workload(
        num_frames=20,
        num_encoded_frames=24,
        total_tokens=136,
        prompt_tokens=VIDEO_LLAVA_7B.prompt_tokens,
        video=VideoStats(num_frames=300, num_keyframes=6, pixels=1280 * 720, frame_bytes=2000.0, codec="h264"),
    )
    assert report.costs == costs.predict(work)


@pytest.mark.parametrize(("stored", "factor"), [("yuv420p", 1), (None, 1), ("yuvj444p", 2), ("yuv422p10le", 4 / 3)])
def test_less_chroma_subsampling_counts_as_more_pixels(stored, factor):
    info = video(width=300, height=200, pixel_format=stored)
    assert video_stats(info).pixels == round(300 * 200 * factor)
