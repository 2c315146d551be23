from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import vidzip
from pipelines.bench.published import with_eager_attention
from pipelines.bench.settings import ENCODE, FILE, PUBLISHED, PUBLISHED_ONE_BATCH, TOWER, UNCOMPRESSED, VIDZIP, Case
from pipelines.bench.variants import MeasuredModel, decode, plan_of, random_frames
from vidzip import Budget
from vidzip.models.timing import Stopwatch
from vidzip.models.video_llava import VideoLlava

QUESTION = "What is the color of the star?"
FRAMES, TOKENS = 5, 20


@pytest.fixture(scope="module")
def bench_model(small):
    model = replace(small, max_batch_frames=2)
    return MeasuredModel(model=model, eager_tower=with_eager_attention(model.tower), question=QUESTION)


@pytest.fixture(scope="module")
def pixels():
    return random_frames(FRAMES, 45, 80)


def case(variant, video=None):
    return Case(variant=variant, dtype="float32", frames=FRAMES, tokens=TOKENS, video=video)


def encode(bench_model, variant, pixels):
    stopwatch = Stopwatch(bench_model.model.device)
    return bench_model.encode(case(variant), pixels, stopwatch), stopwatch.seconds


def test_oracle_uncompressed_tokens_are_those_of_transformers(bench_model, pixels):
    model = bench_model.model
    output, seconds = encode(bench_model, UNCOMPRESSED, pixels)
    prepared = model.preprocessor(pixels)
    with torch.no_grad():
        own = model.network.model.get_video_features(pixel_values_videos=prepared[None]).pooler_output
        torch.testing.assert_close(model.family.project(output.tokens), torch.cat(list(own)).flatten(0, -2))
    assert output.zipped is None
    assert set(seconds) == {"preprocess", "encode"}


@pytest.mark.parametrize("variant", [PUBLISHED, PUBLISHED_ONE_BATCH])
def test_oracle_published_tokens_equal_vidzips(bench_model, pixels, variant):
    output, seconds = encode(bench_model, variant, pixels)
    ours, our_seconds = encode(bench_model, VIDZIP, pixels)
    torch.testing.assert_close(output.tokens, ours.tokens, rtol=1e-4, atol=1e-4)
    assert len(ours.tokens) == TOKENS
    assert torch.equal(ours.tokens, ours.zipped.tokens)
    assert set(seconds) == set(our_seconds) == {"preprocess", "encode", "compress"}


@pytest.mark.parametrize(
    ("variant", "runs"), [(UNCOMPRESSED, [5]), (PUBLISHED_ONE_BATCH, [5]), (PUBLISHED, [2, 2, 1]), (TOWER, [2, 2, 1])]
)
def test_frames_run_in_one_batch_or_several(bench_model, pixels, variant, runs):
    seen = []
    hooks = [
        tower.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
        for tower in (bench_model.eager_tower, bench_model.model.tower)
    ]
    output, _ = encode(bench_model, variant, pixels)
    for hook in hooks:
        hook.remove()
    assert seen == runs
    assert (output.tokens is None) == (variant == TOWER)


def test_encoding_alone_returns_no_tokens(bench_model, pixels):
    output, seconds = encode(bench_model, ENCODE, pixels)
    assert output.tokens is None
    assert set(seconds) == {"preprocess", "encode"}


def test_oracle_the_answer_is_that_of_ask(bench_model, clip):
    model = bench_model.model
    packed = model.pack(clip, model.plan(clip, Budget(total_tokens=TOKENS, num_frames=FRAMES)))
    stopwatch = Stopwatch(model.device)
    ids = bench_model.answer(packed.tokens, stopwatch)
    assert model.tokenizer.decode(ids, skip_special_tokens=True).strip() == model.ask(packed, QUESTION, 2).text
    assert set(stopwatch.seconds) == {"project", "prefill", "generate"}


def test_a_video_is_decoded_as_planned(bench_model, clip):
    stopwatch = Stopwatch(bench_model.model.device)
    pixels = decode(bench_model.model, case(VIDZIP, str(clip)), stopwatch)
    plan = bench_model.model.plan(clip, Budget(total_tokens=TOKENS, num_frames=FRAMES))
    assert torch.equal(pixels, vidzip.decode(clip, plan.timestamps_seconds).pixels)
    assert stopwatch.seconds["decode"] > 0


class LinspaceVideoLlava(VideoLlava):
    sampling_policy = "linspace"


def test_uncompressed_frames_use_the_models_sampling_policy(bench_model, clip):
    other = replace(bench_model.model, family=LinspaceVideoLlava(**vars(bench_model.model.family)))
    assert plan_of(other, case(UNCOMPRESSED, str(clip))).policy == "linspace"
    assert plan_of(other, case(VIDZIP, str(clip))).policy == "middle"
    assert plan_of(other, replace(case(UNCOMPRESSED, str(clip)), tokens=None)).total_tokens == FRAMES * 257


def test_from_the_file_to_the_first_token(bench_model, clip):
    stopwatch = Stopwatch(bench_model.model.device)
    began = stopwatch.now()
    took = bench_model.answer_from_file(case(FILE, str(clip)), stopwatch)
    in_all = stopwatch.now() - began
    seconds = stopwatch.seconds
    assert set(seconds) == {"decode", "preprocess", "encode", "compress", "project", "prefill", "generate"}
    assert seconds["encode"] + seconds["prefill"] < took < in_all


def test_random_frames_are_the_same_every_time():
    assert torch.equal(random_frames(3)[:2], random_frames(2))
    assert random_frames(1).shape == (1, 3, 360, 640)
