from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import vidzip
from pipelines.bench.published import eager
from pipelines.bench.settings import ENCODE, FILE, FULL, OURS, PUBLISHED, TOWER, WHOLE, Case
from pipelines.bench.ways import Subject, decode, plan_of, random_frames
from vidzip import Budget
from vidzip.models.timing import Stopwatch
from vidzip.models.video_llava import VideoLlava

QUESTION = "What is the color of the star?"
FRAMES, TOKENS = 5, 20


@pytest.fixture(scope="module")
def subject(small):
    model = replace(small, max_batch_frames=2)
    return Subject(model=model, eager=eager(model.tower), question=QUESTION)


@pytest.fixture(scope="module")
def pixels():
    return random_frames(FRAMES, 45, 80)


def case(way, video=None):
    return Case(way=way, dtype="float32", frames=FRAMES, tokens=TOKENS, video=video)


def look(subject, way, pixels):
    stopwatch = Stopwatch(subject.model.device)
    return subject.look(case(way), pixels, stopwatch), stopwatch.seconds


def test_oracle_whole_frames_are_the_models_own(subject, pixels):
    model = subject.model
    looked, seconds = look(subject, FULL, pixels)
    prepared = model.preprocessor(pixels)
    with torch.no_grad():
        own = model.network.model.get_video_features(pixel_values_videos=prepared[None]).pooler_output
        torch.testing.assert_close(model.family.project(looked.tokens), torch.cat(list(own)).flatten(0, -2))
    assert looked.zipped is None
    assert set(seconds) == {"preprocess", "encode"}


@pytest.mark.parametrize("way", [PUBLISHED, WHOLE])
def test_oracle_the_published_way_gives_the_tokens_of_ours(subject, pixels, way):
    looked, seconds = look(subject, way, pixels)
    ours, our_seconds = look(subject, OURS, pixels)
    torch.testing.assert_close(looked.tokens, ours.tokens, rtol=1e-4, atol=1e-4)
    assert len(ours.tokens) == TOKENS
    assert torch.equal(ours.tokens, ours.zipped.tokens)
    assert set(seconds) == set(our_seconds) == {"preprocess", "encode", "compress"}


@pytest.mark.parametrize(("way", "runs"), [(FULL, [5]), (WHOLE, [5]), (PUBLISHED, [2, 2, 1]), (TOWER, [2, 2, 1])])
def test_frames_run_all_at_once_or_in_batches(subject, pixels, way, runs):
    seen = []
    hooks = [
        tower.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
        for tower in (subject.eager, subject.model.tower)
    ]
    looked, _ = look(subject, way, pixels)
    for hook in hooks:
        hook.remove()
    assert seen == runs
    assert (looked.tokens is None) == (way == TOWER)


def test_encoding_alone_gives_no_tokens(subject, pixels):
    looked, seconds = look(subject, ENCODE, pixels)
    assert looked.tokens is None
    assert set(seconds) == {"preprocess", "encode"}


def test_oracle_asking_is_what_the_model_does(subject, clip):
    model = subject.model
    packed = model.pack(clip, model.plan(clip, Budget(total_tokens=TOKENS, num_frames=FRAMES)))
    stopwatch = Stopwatch(model.device)
    ids = subject.ask(packed.tokens, stopwatch)
    assert model.tokenizer.decode(ids, skip_special_tokens=True).strip() == model.ask(packed, QUESTION, 2).text
    assert set(stopwatch.seconds) == {"project", "prefill", "generate"}


def test_a_video_is_decoded_as_planned(subject, clip):
    stopwatch = Stopwatch(subject.model.device)
    pixels = decode(subject.model, case(OURS, str(clip)), stopwatch)
    plan = subject.model.plan(clip, Budget(total_tokens=TOKENS, num_frames=FRAMES))
    assert torch.equal(pixels, vidzip.decode(clip, plan.timestamps_seconds).pixels)
    assert stopwatch.seconds["decode"] > 0


class LinspaceVideoLlava(VideoLlava):
    sampling_policy = "linspace"


def test_the_models_own_frames_are_chosen_as_its_code_does(subject, clip):
    other = replace(subject.model, family=LinspaceVideoLlava(**vars(subject.model.family)))
    assert plan_of(other, case(FULL, str(clip))).policy == "linspace"
    assert plan_of(other, case(OURS, str(clip))).policy == "middle"
    assert plan_of(other, replace(case(FULL, str(clip)), tokens=None)).total_tokens == FRAMES * 257


def test_from_the_file_to_the_first_token(subject, clip):
    stopwatch = Stopwatch(subject.model.device)
    began = stopwatch.now()
    took = subject.ask_about_file(case(FILE, str(clip)), stopwatch)
    in_all = stopwatch.now() - began
    seconds = stopwatch.seconds
    assert set(seconds) == {"decode", "preprocess", "encode", "compress", "project", "prefill", "generate"}
    assert seconds["encode"] + seconds["prefill"] < took < in_all


def test_random_frames_are_the_same_every_time():
    assert torch.equal(random_frames(3)[:2], random_frames(2))
    assert random_frames(1).shape == (1, 3, 360, 640)
