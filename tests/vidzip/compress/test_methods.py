"""What every method must keep to, whatever it does. A new method is a row here by being in METHODS."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from towers import ragged_counts, random_features

from vidzip import FrameFeatures, zip_frames
from vidzip.compress import METHODS
from vidzip.errors import BadArgument

pytestmark = pytest.mark.parametrize("method", METHODS)


@given(ragged_counts, st.integers(0, 10_000))
def test_law_exactly_the_tokens_asked_for(method, drawn, seed):
    size, counts = drawn
    zipped = zip_frames(random_features(len(counts), size, seed), counts, method)
    spent = torch.bincount(zipped.frame_of, minlength=len(counts)).tolist()
    assert spent == [min(k, size) for k in counts]
    assert zipped.tokens.shape == (sum(spent), 12)
    assert zipped.anchor_of.shape == zipped.frame_of.shape == (sum(spent),)
    assert zipped.source.shape == (len(counts), size)


@given(ragged_counts, st.integers(0, 10_000))
def test_law_every_token_stands_on_a_source_token_that_ended_in_it(method, drawn, seed):
    size, counts = drawn
    zipped = zip_frames(random_features(len(counts), size, seed), counts, method)
    assert zipped.source[zipped.frame_of, zipped.anchor_of].tolist() == list(range(zipped.tokens.shape[0]))
    assert zipped.source.min() >= -1
    assert zipped.source.max() < max(1, zipped.tokens.shape[0])
    assert zipped.frame_of.tolist() == sorted(zipped.frame_of.tolist())


@given(ragged_counts, st.integers(0, 10_000))
def test_law_the_same_input_gives_the_same_bits(method, drawn, seed):
    size, counts = drawn
    features = random_features(len(counts), size, seed)
    assert zip_frames(features, counts, method).tokens.equal(zip_frames(features, counts, method).tokens)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tokens_keep_the_dtype_of_the_features(method, dtype):
    features = random_features(3, 20)
    cast = FrameFeatures(hidden=features.hidden.to(dtype), keys=features.keys, attention=features.attention)
    assert zip_frames(cast, 5, method).tokens.dtype is dtype


def test_no_shape_depends_on_values(method):
    # Fake tensors hold no values: reading one, which would make a GPU's host wait, raises.
    with FakeTensorMode():
        features = FrameFeatures(hidden=torch.empty(4, 20, 8), keys=torch.empty(4, 20, 4), attention=torch.empty(4, 20))
        assert zip_frames(features, [3, 0, 20, 9], method).tokens.shape == (32, 8)


def test_a_whole_frame_is_unchanged_and_an_empty_one_leaves_no_trace(method):
    features = random_features(3, 9)
    zipped = zip_frames(features, [0, 9, 400], method)
    assert zipped.tokens.equal(features.hidden[1:].flatten(0, 1))
    assert zipped.source.tolist() == [[-1] * 9, list(range(9)), list(range(9, 18))]
    assert zip_frames(features, 0, method).tokens.shape == (0, 12)


def test_what_it_does_not_know_is_refused(method):
    with pytest.raises(BadArgument, match=f"{method} has no option 'patience'; it takes"):
        zip_frames(random_features(2, 9), 4, method, patience=1)
    with pytest.raises(BadArgument, match="unknown method 'magic'; use one of visionzip"):
        zip_frames(random_features(2, 9), 4, "magic")
