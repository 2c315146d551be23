from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from towers import ragged_counts, random_features

from vidzip import zip_frames


def random(features, counts, **options):
    return zip_frames(features, counts, "random", **options)


@given(ragged_counts, st.integers(0, 2**63 - 1))
def test_law_what_tokens_say_does_not_matter(drawn, seed):
    size, counts = drawn
    here, there = (random(random_features(len(counts), size, other), counts, seed=seed) for other in (0, 1))
    assert here.anchor_of.equal(there.anchor_of)
    assert here.tokens.equal(random_features(len(counts), size, 0).tokens[here.frame_of, here.anchor_of])


@given(ragged_counts)
def test_law_cls_stands_first_or_comes_last(drawn):
    size, counts = drawn
    features = random_features(len(counts), size)
    kept, without = random(features, counts), random(features, counts, keep_cls=False)
    for frame, count in enumerate(counts):
        assert (int(kept.source_of(frame)[0]) >= 0) == (count > 0)
        assert (int(without.source_of(frame)[0]) >= 0) == (count >= size)


def test_the_same_seed_draws_the_same_and_another_one_other_patches():
    # The numbers of torch's own generator, so that a run of today can be made again.
    features = random_features(3, 257)
    torch.manual_seed(1)
    first = random(features, 5)
    torch.manual_seed(2)
    assert random(features, 5).anchor_of.equal(first.anchor_of)
    assert first.anchor_of.tolist() == [0, 51, 69, 142, 221, 0, 75, 80, 128, 195, 0, 16, 17, 35, 38]
    assert not random(features, 5, seed=1).anchor_of.equal(first.anchor_of)


def test_more_tokens_draw_more_patches_beside_the_same():
    features = random_features(3, 40)
    few, many = (set(zip(z.frame_of.tolist(), z.anchor_of.tolist(), strict=True)) for z in (
        random(features, 6), random(features, 17)
    ))  # fmt: skip
    assert few < many


def test_every_patch_is_as_likely():
    features = random_features(4000, 17)
    drawn = torch.bincount(random(features, 5).anchor_of, minlength=17)
    assert drawn[0] == 4000
    assert (drawn[1:] - 1000).abs().max() < 120  # 4.4 standard deviations
