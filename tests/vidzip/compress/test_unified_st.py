from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_across import (
    PlainChoice,
    budgets,
    check,
    features_of,
    identical_frames,
    peaks,
    seeds,
    shared_options,
)
from towers import sources

from vidzip.compress import across_frames
from vidzip.compress.unified_st import UnifiedSt, accept_dissimilar
from vidzip.planner import split_evenly


def plain(method):
    """Choose as published, one patch at a time."""

    def choose(video, count):
        size = min(len(video.all), max(count, min(method.pool * count, across_frames.MAX_CANDIDATES)))
        candidates = video.by_score(list(video.all))[:size]
        max_accepted = count - int(method.refilled * count)
        accepted = []
        for patch in candidates:
            if len(accepted) < max_accepted and all(
                video.cosine(patch, other) < method.threshold for other in accepted
            ):
                accepted.append(patch)
        left = [patch for patch in candidates if patch not in accepted]
        refill = peaks(video, left, method.neighbours)[: count - len(accepted)]
        return PlainChoice(accepted + refill, {patch: video.most_similar(patch, refill) for patch in video.all})

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
@settings(derandomize=True)  # two points of equal density are ordered by rounding
def test_law_equals_the_plain_reference(drawn, seed, chosen):
    method = UnifiedSt(**chosen)
    check(method, drawn, seed, plain(method))


@given(st.integers(1, 12), st.integers(0, 12), seeds)
def test_law_accepted_points_are_dissimilar_and_no_other_could_be_accepted(points, limit, seed):
    drawn = torch.rand(points, points, generator=torch.Generator().manual_seed(seed)) < 0.6
    is_dissimilar = drawn & drawn.T
    accepted = accept_dissimilar(is_dissimilar, min(limit, points)).nonzero().flatten().tolist()
    assert all(is_dissimilar[a, b] for a in accepted for b in accepted if a != b)
    assert len(accepted) <= limit
    if len(accepted) < min(limit, points):
        others = [point for point in range(points) if point not in accepted]
        assert all(any(not is_dissimilar[point, a] for a in accepted if a < point) for point in others)


def case():
    """Two frames of three patches: by attention, right, about right, up; and in the second frame up, left, left."""
    return features_of(
        [[[1.0, 0.0], [5.0, 0.5], [0.0, 2.0]], [[0.2, 6.0], [-2.0, 0.0], [-4.0, 0.0]]],
        [[0.9, 0.8, 0.7], [0.6, 0.5, 0.4]],
    )


def test_a_case_worked_by_hand():
    # Of 4, floor(0.3 * 4) = 1 is refilled and 3 are accepted: right, up and left, the other two being similar to these. Of
    # the three others, (0.2, 6) is the densest: its mean squared distance, to itself included, is 53.465 / 3, that of the
    # others 67.27 / 3 and 67.445 / 3. Both are merged into it.
    zipped = UnifiedSt(keep_cls=False).compress(case(), [2, 2])
    assert zipped.frame_of.tolist() == [0, 0, 1, 1]
    assert zipped.anchor_of.tolist() == [1, 3, 1, 2]
    assert sources(zipped) == [[-1, 0, 2, 1], [-1, 2, 3, 2]]
    torch.testing.assert_close(zipped.tokens[2], torch.tensor([1.2 / 3, 6.5 / 3]))
    assert zipped.tokens[[0, 1, 3]].tolist() == [[1.0, 0.0], [0.0, 2.0], [-2.0, 0.0]]


def test_peaks_replace_patches_that_the_threshold_excludes():
    zipped = UnifiedSt(keep_cls=False, threshold=-0.9).compress(case(), [2, 2])
    # Right and left are accepted; two peaks take the rest of the budget.
    assert len(zipped.tokens) == 4
    assert [0, 1] in torch.stack([zipped.frame_of, zipped.anchor_of], 1).tolist()
    assert [1, 2] in torch.stack([zipped.frame_of, zipped.anchor_of], 1).tolist()


def test_each_patch_of_identical_frames_is_kept_once():
    features = identical_frames(6, 9)
    zipped = UnifiedSt(keep_cls=False, threshold=0.999, refilled=0.0, merge="none").compress(
        features, split_evenly(8, 6)
    )
    assert zipped.frame_of.tolist() == [0] * 8
    assert zipped.tokens.equal(features.patches[0])
