from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from towers import ragged_counts, random_features, sources

from vidzip import zip_frames


def features_of(scores):
    return replace(random_features(len(scores), 1 + len(scores[0])), scores=torch.tensor(scores))


def test_a_case_worked_by_hand():
    features = features_of([[0.3, 0.1, 0.9, 0.2], [0.1, 0.2, 0.3, 0.4]])
    zipped = zip_frames(features, [3, 2], "attention")
    assert zipped.anchor_of.tolist() == [0, 1, 3, 0, 4]
    assert sources(zipped) == [[0, 1, -1, 2, -1], [3, -1, -1, -1, 4]]
    assert zipped.tokens.equal(features.tokens[[0, 0, 0, 1, 1], [0, 1, 3, 0, 4]])
    without = zip_frames(features, [3, 2], "attention", keep_cls=False)
    assert without.anchor_of.tolist() == [1, 3, 4, 3, 4]


@pytest.mark.parametrize("keep_cls", [True, False])
@given(ragged_counts, st.integers(0, 10_000))
def test_law_it_keeps_what_sorting_keeps(keep_cls, drawn, seed):
    size, counts = drawn
    features = random_features(len(counts), size, seed)
    zipped = zip_frames(features, counts, "attention", keep_cls=keep_cls)
    for frame, count in enumerate(counts):
        patches = sorted(range(1, size), key=lambda p: (-features.scores[frame, p - 1].item(), p))
        order = [0, *patches] if keep_cls else [*patches, 0]
        mine = zipped.frame_of == frame
        assert zipped.anchor_of[mine].tolist() == sorted(order[:count])
        assert zipped.tokens[mine].equal(features.tokens[frame, sorted(order[:count])])


@pytest.mark.parametrize(("keep_cls", "kept"), [(True, [0, 1, 2]), (False, [1, 2, 3])])
def test_of_equal_attention_the_first_in_raster_order_wins(keep_cls, kept):
    assert zip_frames(features_of([[1.0] * 8]), 3, "attention", keep_cls=keep_cls).anchor_of.tolist() == kept


def test_visionzips_dominant_tokens_are_these():
    features = random_features(4, 30)
    dominant = zip_frames(features, 15, "attention").anchor_of.unflatten(0, (4, 15))
    assert zip_frames(features, 18).anchor_of.unflatten(0, (4, 18))[:, :15].equal(dominant)
