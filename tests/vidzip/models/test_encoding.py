"""Encoding in clips and batches; the original's tower has clips of four frames."""

from __future__ import annotations

import dataclasses
import shutil
import types
from functools import partial

import pytest
import torch
from clips import write_numbered
from originals import write_original

from vidzip import Budget, Frames, decode, load, observe, plan, probe, zip_frames
from vidzip.encoders import CompiledTower
from vidzip.models import model as model_module


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    write_original(folder / "model")
    return load(folder / "model", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def frames(clip):
    return decode(clip, plan(clip, Budget(num_frames=10)).timestamps_seconds)


def own_features(model, pixels):
    """The tower's features of frames, with the last clip filled by hand."""
    prepared = model.preprocessor(pixels)
    repeats = -len(prepared) % 4
    return observe(model.tower, torch.cat([prepared, *[prepared[-1:]] * repeats]))[: len(prepared)]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 10])
def test_the_last_frame_fills_the_last_clip_and_its_repeats_are_not_seen(original, frames, count):
    some = Frames(pixels=frames.pixels[:count], timestamps_seconds=frames.timestamps_seconds[:count])
    features = original.encode(some)
    assert features.num_frames == count
    torch.testing.assert_close(features.tokens, own_features(original, some.pixels).tokens, rtol=0, atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 4, 6, 8, 100])
def test_how_many_clips_run_at_once_changes_nothing(original, clip, frames, at_once):
    model = dataclasses.replace(original, max_batch_frames=at_once)
    assert model.batch_frames % 4 == 0
    planned = model.plan(clip, Budget(num_frames=10))
    packed = model.pack(clip, planned)
    expected = zip_frames(own_features(original, frames.pixels), planned.tokens_per_frame)
    torch.testing.assert_close(packed.tokens, expected.tokens, rtol=0, atol=1e-5)
    assert packed.source.equal(expected.source)


def test_a_plan_without_clips_is_packed_with_the_models(original, clip):
    packed = original.pack(clip, plan(clip, Budget(num_frames=10), 17))
    assert packed.num_frames == 10
    assert packed.num_tokens == 136
    assert packed.plan.num_encoded_frames == 12
    assert packed.plan == original.plan(clip, Budget(num_frames=10))


def test_frames_that_repeat_leave_clips_of_distinct_frames(original, tmp_path):
    # The third of four pictures stays for two seconds, planned as if the rate were constant: it is seen twice or more.
    path = tmp_path / "slides.mkv"
    write_numbered(path, times=[0.0, 0.5, 1.0, 3.0])
    steady = dataclasses.replace(probe(path), num_frames=100, frame_times_seconds=None)
    planned = original.plan(steady, Budget(total_tokens=40, num_frames=6))
    packed = original.pack(path, planned)
    assert packed.timestamps_seconds == (0.0, 0.5, 1.0)
    assert packed.plan.num_encoded_frames == 4
    pixels = decode(path, packed.timestamps_seconds).pixels
    expected = zip_frames(own_features(original, pixels), packed.plan.tokens_per_frame)
    torch.testing.assert_close(packed.tokens, expected.tokens, rtol=0, atol=1e-5)


def test_a_smaller_memory_takes_fewer_frames_at_once_but_a_clip_at_least(original, small):
    assert small.batch_frames == 8
    assert dataclasses.replace(small, tower_memory_bytes=2**20).batch_frames == 1
    assert dataclasses.replace(original, tower_memory_bytes=1).batch_frames == 4
    assert dataclasses.replace(original, max_batch_frames=7).batch_frames == 4


def test_the_uncompressed_original_takes_its_own_frames(original, clip):
    seen = []
    hook = original.tower.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        answer = original.ask_uncompressed(clip, "What is shown?", max_new_tokens=2)
    finally:
        hook.remove()
    assert answer.visual_tokens == 8 * 17
    numbers = [0, 7, 14, 21, 28, 35, 42, 49]  # as numpy's linspace gives them for 8 of 50, in whole numbers
    pixels = decode(clip, [(number + 0.5) / 25 for number in numbers]).pixels
    torch.testing.assert_close(torch.cat(seen), original.preprocessor(pixels), rtol=0, atol=1e-6)


@pytest.fixture
def as_graphs(monkeypatch):
    """Compile without the compiler, which takes a minute: torch runs the captured graph."""
    monkeypatch.setattr(model_module, "CompiledTower", partial(CompiledTower, backend="eager"))


@pytest.mark.parametrize("at_once", [4, 8])
def test_compiled_runs_are_full_and_one_graph_serves_every_number_of_frames(original, clip, as_graphs, at_once):
    model = dataclasses.replace(original, max_batch_frames=at_once, compile_tower=True)
    frames = decode(clip, plan(clip, Budget(num_frames=19)).timestamps_seconds)
    first = model.encode(frames)
    with torch.compiler.set_stance("fail_on_recompile"):
        for count in (1, 3, 4, 5, 9, 19):
            some = Frames(pixels=frames.pixels[:count], timestamps_seconds=frames.timestamps_seconds[:count])
            features = model.encode(some)
            assert features.num_frames == count
            torch.testing.assert_close(features.tokens, original.encode(some).tokens, rtol=0, atol=1e-5)
    torch.testing.assert_close(first.scores, original.encode(frames).scores, rtol=0, atol=1e-5)


def test_a_compiled_model_packs_and_answers_the_same(original, clip, as_graphs):
    model = dataclasses.replace(original, compile_tower=True)
    planned = model.plan(clip, Budget(num_frames=10))
    packed, expected = model.pack(clip, planned), original.pack(clip, planned)
    torch.testing.assert_close(packed.tokens, expected.tokens, rtol=0, atol=1e-5)
    assert packed.source.equal(expected.source)
    assert packed.tower == expected.tower
    assert model.ask(packed, "Why?", 4).text == original.ask(expected, "Why?", 4).text


def test_repeats_of_what_stands_still_do_not_run_half_empty(original, as_graphs, tmp_path):
    # Of the moments of a picture that stays, one is encoded: a compiled run waits until frames fill it.
    path = tmp_path / "slides.mkv"
    write_numbered(path, times=[0.0, 0.5, 1.0, 3.0])
    steady = dataclasses.replace(probe(path), num_frames=100, frame_times_seconds=None)
    planned = original.plan(steady, Budget(total_tokens=40, num_frames=12))
    model = dataclasses.replace(original, max_batch_frames=4, compile_tower=True)
    packed, expected = model.pack(path, planned), original.pack(path, planned)
    torch.testing.assert_close(packed.tokens, expected.tokens, rtol=0, atol=1e-5)
    assert packed.timestamps_seconds == expected.timestamps_seconds


def test_compile_tower_compiles_at_the_first_use(monkeypatch, clip):
    made = []
    monkeypatch.setattr(model_module, "CompiledTower", lambda tower: made.append(tower) or as_it_is(tower))
    model = load("tiny-random", device="cpu", dtype="float32", compile_tower=True)
    assert made == []
    for _ in range(2):
        model.encode(decode(clip, [0.5]))
    assert made == [model.tower]
    assert not load("tiny-random", device="cpu").compile_tower


def as_it_is(tower):
    return types.SimpleNamespace(observe=partial(observe, tower))


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="there is no C++ compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_really_compiled_tower_gives_the_same_features(small, clip):
    model = dataclasses.replace(small, compile_tower=True, max_batch_frames=4)
    frames = decode(clip, plan(clip, Budget(num_frames=9)).timestamps_seconds)
    first = model.encode(Frames(pixels=frames.pixels[:2], timestamps_seconds=frames.timestamps_seconds[:2]))
    with torch.compiler.set_stance("fail_on_recompile"):
        features = model.encode(frames)
    expected = small.encode(frames)
    torch.testing.assert_close(first.tokens, expected.tokens[:2], rtol=0, atol=1e-4)
    for name in ("tokens", "keys", "scores"):
        torch.testing.assert_close(getattr(features, name), getattr(expected, name), rtol=0, atol=1e-4)
    planned = plan(clip, Budget(num_frames=9))
    assert model.pack(clip, planned).source.equal(small.pack(clip, planned).source)
