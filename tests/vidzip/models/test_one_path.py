"""One way from a video to packed tokens: in chunks or whole, in this process or from frames decoded elsewhere."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager

import pytest
from clips import write_numbered
from originals import write_original

from vidzip import Budget, decode, load, probe
from vidzip.decoding import decode_plan
from vidzip.errors import BadArgument

FRAMES = 19
"""No multiple of a batch, nor of a clip."""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original") / "model"
    write_original(folder)
    return load(folder, device="cpu", dtype="float32")


@pytest.fixture(params=["port", "original"])
def model(request):
    return request.getfixturevalue("small" if request.param == "port" else "original")


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Seven pictures in a second, the fourth of which stays for two; planned at 100 frames, some repeat."""
    path = tmp_path_factory.mktemp("slides") / "slides.mkv"
    write_numbered(path, times=[0.0, 0.1, 0.2, 0.3, 2.3, 2.4, 2.5, 3.0])
    return path


def planned(model, path):
    """A plan with the true times of frames, or with repeats if the file's rate varies."""
    info = probe(path)
    if path.suffix == ".mkv":
        info = dataclasses.replace(info, num_frames=100, frame_times_seconds=None)
    return model.plan(info, Budget(num_frames=FRAMES, total_tokens=60))


def decoded(model, path, planned):
    """What worker processes of question sets return."""
    return decode_plan(path, planned, model.preprocessor.shape, max_tokens_per_frame=model.tokens_per_frame)


def chunks(frames, size):
    for first in range(0, len(frames.pixels), size):
        yield dataclasses.replace(
            frames,
            pixels=frames.pixels[first : first + size],
            timestamps_seconds=frames.timestamps_seconds[first : first + size],
        )


def check_equal(packed, expected):
    assert packed.tokens.equal(expected.tokens)
    assert packed.source.equal(expected.source)
    assert packed.frame_of.equal(expected.frame_of)
    assert packed.anchor_of.equal(expected.anchor_of)
    assert packed.timestamps_seconds == expected.timestamps_seconds
    assert packed.plan == expected.plan
    assert packed.warnings == expected.warnings


@pytest.mark.parametrize("video", ["clip", "slides"])
def test_every_path_gives_the_same_packed_video_bit_by_bit(model, request, video):
    path = request.getfixturevalue(video)
    requested = planned(model, path)
    expected = model.pack(path, requested)
    fitting, frames = decoded(model, path, requested)
    check_equal(model.pack_frames(frames, fitting), expected)
    assert (fitting.num_frames < FRAMES) == (video == "slides")
    for given in (frames, chunks(frames, 1), chunks(frames, 5), chunks(frames, model.batch_frames)):
        features = model.encode(given)
        check_equal(
            model.pack_features(features, fitting, timestamps_seconds=frames.timestamps_seconds),
            expected,
        )


@pytest.mark.parametrize("at_once", [1, 4, 100])
@pytest.mark.parametrize("video", ["clip", "slides"])
def test_every_path_uses_the_same_batches(model, request, video, at_once):
    # On some devices rounding depends on the batch size.
    path = request.getfixturevalue(video)
    model = dataclasses.replace(model, max_batch_frames=at_once)
    requested = planned(model, path)
    fitting, frames = decoded(model, path, requested)
    paths = [
        lambda: model.pack(path, requested),
        lambda: model.pack_frames(frames, fitting),
        lambda: model.encode(chunks(frames, 1)),
        lambda: model.encode(chunks(frames, 5)),
    ]
    sizes = []
    with batch_sizes(model) as given:
        for run in paths:
            given.clear()
            run()
            sizes.append([*given])
    full, last = divmod(fitting.num_encoded_frames, model.batch_frames)
    assert sizes == [[model.batch_frames] * full + [last] * (last > 0)] * len(paths)


@contextmanager
def batch_sizes(model):
    """The numbers of frames that the tower is given, batch by batch."""
    given = []
    hook = model.tower.register_forward_pre_hook(lambda _, args: given.append(len(args[0])))
    try:
        yield given
    finally:
        hook.remove()


def test_frames_at_full_size_become_those_of_the_preprocessors_shape(model, clip):
    requested = planned(model, clip)
    whole = decode(clip, requested.timestamps_seconds)
    fitting, shaped = decoded(model, clip, requested)
    assert whole.shape == type(whole.shape)()
    assert shaped.shape == model.preprocessor.shape
    packed = [
        model.pack_features(model.encode(frames), fitting, timestamps_seconds=shaped.timestamps_seconds)
        for frames in (whole, shaped)
    ]
    check_equal(*packed)


def test_frames_of_another_models_shape_are_refused(small, original, clip):
    requested = planned(small, clip)
    _, frames = decoded(small, clip, requested)
    with pytest.raises(BadArgument):
        original.encode(frames)
    other = dataclasses.replace(frames, shape=dataclasses.replace(frames.shape, resize="bilinear"))
    with pytest.raises(BadArgument):
        small.encode(other)
    with pytest.raises(BadArgument):
        small.pack_frames(other, requested)


def test_only_frames_of_the_replanned_video_run_through_the_tower(model, videos):
    path = videos / "corrupted.mp4"
    requested = model.plan(path, Budget(num_frames=44))
    assert requested.num_frames == 44
    with batch_sizes(model) as given:
        packed = model.pack(path, requested)
    assert packed.num_frames < 44
    assert sum(given) == packed.plan.num_encoded_frames
    fitting, frames = decoded(model, path, requested)
    check_equal(model.pack_frames(frames, fitting), packed)
