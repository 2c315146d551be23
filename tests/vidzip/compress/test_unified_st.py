from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_across import (
    Plan,
    all_alike,
    budgets,
    check,
    evenly,
    features_of,
    moving_features,
    peaks,
    seeds,
    shared_options,
)
from towers import sources

from vidzip.compress import selecting
from vidzip.compress.unified_st import UnifiedSt, accept
from vidzip.errors import BadArgument


def plain(method):
    """Choose as published, one patch at a time."""

    def choose(video, count):
        size = min(len(video.all), max(count, min(method.pool * count, selecting.MOST_CANDIDATES)))
        candidates = video.by_score(list(video.all))[:size]
        most = count - int(method.refilled * count)
        accepted = []
        for patch in candidates:
            if len(accepted) < most and all(video.cosine(patch, other) < method.threshold for other in accepted):
                accepted.append(patch)
        left = [patch for patch in candidates if patch not in accepted]
        refill = peaks(video, left, method.neighbours)[: count - len(accepted)]
        return Plan(accepted + refill, {patch: video.most_similar(patch, refill) for patch in video.all})

    return choose


options = st.fixed_dictionaries(
    {
        "threshold": st.sampled_from([-1.0, 0.0, 0.3, 0.7, 1.0]),
        "refilled": st.sampled_from([0.0, 0.3, 0.6, 1.0]),
        "neighbours": st.integers(1, 6),
        "pool": st.integers(1, 6),
        **shared_options,
    }
)


@given(budgets, seeds, options)
def test_law_equals_the_plain_reference(drawn, seed, chosen):
    method = UnifiedSt(**chosen)
    check(method, drawn, seed, plain(method))


@given(st.integers(1, 12), st.integers(0, 12), seeds)
def test_law_accepted_points_are_unlike_and_no_other_could_be_accepted(points, most, seed):
    drawn = torch.rand(points, points, generator=torch.Generator().manual_seed(seed)) < 0.6
    is_unlike = drawn & drawn.T
    accepted = accept(is_unlike, min(most, points)).nonzero().flatten().tolist()
    assert all(is_unlike[a, b] for a in accepted for b in accepted if a != b)
    assert len(accepted) <= most
    if len(accepted) < min(most, points):
        others = [point for point in range(points) if point not in accepted]
        assert all(any(not is_unlike[point, a] for a in accepted if a < point) for point in others)


def case():
    """Two frames of three patches: by attention, right, about right, up; and in the second frame up, left, left."""
    return features_of(
        [[[1.0, 0.0], [5.0, 0.5], [0.0, 2.0]], [[0.2, 6.0], [-2.0, 0.0], [-4.0, 0.0]]],
        [[0.9, 0.8, 0.7], [0.6, 0.5, 0.4]],
    )


def test_a_case_worked_by_hand():
    # Of 4, floor(0.3 * 4) = 1 is refilled and 3 accepted: right; not the next, which is like it; up; not the next;
    # left. Of the three others, (0.2, 6) is the densest: its mean squared distance, itself counted, is 53.465 / 3, that
    # of the others 67.27 / 3 and 67.445 / 3. Both join it.
    zipped = UnifiedSt(keep_cls=False).compress(case(), [2, 2])
    assert zipped.frame_of.tolist() == [0, 0, 1, 1]
    assert zipped.anchor_of.tolist() == [1, 3, 1, 2]
    assert sources(zipped) == [[-1, 0, 2, 1], [-1, 2, 3, 2]]
    torch.testing.assert_close(zipped.tokens[2], torch.tensor([1.2 / 3, 6.5 / 3]))
    assert zipped.tokens[[0, 1, 3]].tolist() == [[1.0, 0.0], [0.0, 2.0], [-2.0, 0.0]]


def test_where_the_threshold_lets_few_pass_the_rest_is_refilled():
    zipped = UnifiedSt(keep_cls=False, threshold=-0.9).compress(case(), [2, 2])
    # Right, and left; then two peaks in place of the third.
    assert len(zipped.tokens) == 4
    assert [0, 1] in torch.stack([zipped.frame_of, zipped.anchor_of], 1).tolist()
    assert [1, 2] in torch.stack([zipped.frame_of, zipped.anchor_of], 1).tolist()


def test_frames_that_are_all_alike_give_each_patch_once():
    features = all_alike(6, 9)
    zipped = UnifiedSt(keep_cls=False, threshold=0.999, refilled=0.0, merge="none").compress(features, evenly(8, 6))
    assert zipped.frame_of.tolist() == [0] * 8
    assert zipped.tokens.equal(features.patches[0])


def test_one_frame_and_fewer_tokens_than_frames():
    assert UnifiedSt().compress(moving_features(1, 10), [6]).anchor_of.tolist()[0] == 0
    zipped = UnifiedSt(keep_cls=False).compress(moving_features(9, 10), evenly(4, 9))
    assert len(zipped.tokens) == 4
    assert zipped.anchor_of.min() > 0


@pytest.mark.parametrize("bad", [{"threshold": -1.5}, {"refilled": 1.5}, {"neighbours": 0}, {"pool": 0}])
def test_options_that_cannot_be_are_refused(bad):
    with pytest.raises(BadArgument, match=f"{next(iter(bad))} is"):
        UnifiedSt(**bad)
