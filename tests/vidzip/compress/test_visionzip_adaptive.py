from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from towers import random_features

from vidzip import zip_frames
from vidzip.compress.visionzip_adaptive import curvature, frame_means, novelty


def adaptive(features, total, **options):
    return zip_frames(features, method="visionzip-adaptive", total_tokens=total, **options)


def counts_of(features, total, **options):
    return torch.bincount(adaptive(features, total, **options).frame_of, minlength=features.num_frames).tolist()


def shown(directions, size=9):
    """Frames whose patches all have one direction; CLS has another, which does not count."""
    patches = torch.tensor(directions, dtype=torch.float32)[:, None].repeat(1, size - 1, 1)
    return replace(random_features(len(directions), size, dim=patches.shape[2]), patches=patches)


RIGHT, UP, BACK = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]


def test_curvature_worked_by_hand():
    # Steps: (-1, 1), (-1, -1), (1, 1), none: at right angles, back, and still.
    turns = curvature(torch.tensor([RIGHT, UP, BACK, UP, UP]))
    torch.testing.assert_close(turns, torch.tensor([1.0, 1.0, 2.0, 1.0, 1.0]))
    straight = curvature(torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]))
    torch.testing.assert_close(straight, torch.tensor([1.0, 0.0, 1.0]))
    for frames in (0, 1, 2):
        assert curvature(torch.rand(frames, 3)).tolist() == [1.0] * frames


def test_novelty_worked_by_hand():
    # 1 - cos to what came before: none; 1; to (1, 1), 1 + 1 / sqrt(2); to (0, 1), 0. In shares of the third.
    new = novelty(torch.tensor([RIGHT, UP, BACK, UP]))
    most = 1 + 1 / math.sqrt(2)
    torch.testing.assert_close(new, torch.tensor([1.0, 1 / most, 1.0, 0.0]), rtol=0, atol=1e-6)
    assert novelty(torch.tensor([RIGHT])).tolist() == [1.0]
    still = novelty(torch.nn.functional.normalize(torch.ones(5, 1000), dim=-1))
    assert still[0] == 1
    assert still[1:].max() < 0.05  # noise is not blown up


def test_a_frames_mean_is_of_its_patches():
    assert frame_means(shown([[3.0, 4.0]]).patches).tolist() == [pytest.approx([0.6, 0.8])]


def test_a_case_worked_by_hand():
    # Curvatures 1, 1, 2, 1, 1; with temperature 1, e times the tokens for the third: 20 e / (4 + e) = 8.09, 2.98 each.
    features = shown([RIGHT, UP, BACK, UP, UP], 30)
    assert counts_of(features, 20, temperature=1.0, min_tokens=0) == [3, 3, 8, 3, 3]
    # 2 each, and 10 by weight: 4.05 and 1.49 each; what the remainders leave goes to the first.
    assert counts_of(features, 20, temperature=1.0, min_tokens=2) == [4, 4, 6, 3, 3]
    # Novelties 1, 0.586, 1, 0; weights 148.4, 18.7, 148.4, 1. Of 116 tokens beside 1 each, the first and the third
    # would get 54, but have room for 39; 38 are left for the others: 36.07 and 1.93.
    assert counts_of(shown([RIGHT, UP, BACK, UP], 40), 120, temperature=0.2, signal="novelty") == [40, 37, 40, 3]


@pytest.mark.parametrize("signal", ["curvature", "novelty"])
@pytest.mark.parametrize("merge", ["sum", "mean"])
@given(frames=st.integers(1, 7), size=st.integers(2, 24), seed=st.integers(0, 1000), data=st.data())
def test_law_each_frame_is_visionzips_of_its_count(*, signal, merge, frames, size, seed, data):
    features = random_features(frames, size, seed)
    total = data.draw(st.integers(1, frames * size))
    zipped = adaptive(features, total, signal=signal, merge=merge, min_tokens=data.draw(st.integers(0, 3)))
    counts = torch.bincount(zipped.frame_of, minlength=frames).tolist()
    alone = zip_frames(features, counts, merge=merge)
    torch.testing.assert_close(zipped.tokens, alone.tokens, rtol=0, atol=1e-5)
    assert zipped.anchor_of.equal(alone.anchor_of)
    assert zipped.source.equal(alone.source)


def test_a_still_video_is_shared_evenly():
    features = random_features(1, 17)[[0] * 8]
    assert counts_of(features, 44) == [6, 6, 6, 6, 5, 5, 5, 5]


def test_with_fewer_tokens_than_frames_those_that_turn_most_have_one_each():
    features = shown([RIGHT, UP, BACK, UP, [0.1, 1.0], [0.2, 1.0], [0.3, 1.0]])
    turns = curvature(frame_means(features.patches)).argsort(descending=True, stable=True)
    for total in range(1, 8):
        counts = counts_of(features, total)
        assert [frame for frame, count in enumerate(counts) if count] == sorted(turns[:total].tolist())
        counts = counts_of(features, total, min_tokens=3)
        assert [frame for frame, count in enumerate(counts) if count] == sorted(turns[: max(1, total // 3)].tolist())


def test_the_colder_the_more_goes_to_the_frames_that_weigh_most():
    features = shown([RIGHT, UP, BACK, UP, UP], 50)
    thirds = [counts_of(features, 40, temperature=cold)[2] for cold in (100.0, 0.7, 0.3, 0.001)]
    assert thirds == sorted(thirds)
    assert (thirds[0], thirds[-1]) == (8, 36)


def test_a_frame_that_is_no_number_costs_no_token():
    features = random_features(6, 9)
    features.tokens[2, 4] = torch.inf
    for signal in ("curvature", "novelty"):
        assert len(adaptive(features, 31, signal=signal).tokens) == 31
