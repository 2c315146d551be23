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
    scores,
    seeds,
    segments,
    shared_options,
    summed,
)
from towers import sources

from vidzip.compress.fastvid import FastVid
from vidzip.errors import BadArgument


def plain(method):
    """Choose as published, one segment and one frame at a time."""

    def choose(video, count):
        pooled = int(method.pooled * count)
        salient = [
            patch
            for frame, share in enumerate(evenly(count - pooled, video.frames))
            for patch in video.by_score(video.patches(frame))[:share]
        ]
        of_frame = evenly(pooled, video.frames)
        within, spare, score = [], [], {}
        found = segments(video, method.segments, method.threshold)
        for frames in found:
            anchors = frames[::-1][:: method.every][::-1]
            shares = evenly(sum(of_frame[frame] for frame in frames), len(anchors))
            for frame in frames:
                left = [patch for patch in video.patches(frame) if patch not in salient]
                ranked = peaks(video, left, method.neighbours)
                share = shares[anchors.index(frame)] if frame in anchors else 0
                within += ranked[:share]
                spare += ranked[share:]
                score |= scores(video, left, method.neighbours)
        spare.sort(key=lambda patch: (-score[patch], patch))
        kept = (within + spare)[:pooled]
        joins = {}
        for frames in found:
            here = [p for p in kept if video.frame(p) in frames]
            joins |= {p: video.most_similar(p, here) for frame in frames for p in video.patches(frame)}
        return Plan(salient + kept, joins)

    return choose


def weighted(weight):
    def blend(anchor, others):
        share = max(weight, 1 / (len(others) + 1))
        return share * anchor + (1 - share) * others.mean(0)

    return {"mean": blend, "sum": summed}


options = st.fixed_dictionaries(
    {
        "pooled": st.sampled_from([0.0, 0.4, 0.7, 1.0]),
        "segments": st.integers(1, 9),
        "threshold": st.sampled_from([-1.0, 0.3, 0.9]),
        "every": st.integers(1, 5),
        "neighbours": st.integers(1, 6),
        "anchor_weight": st.sampled_from([0.0, 0.6, 1.0]),
        **shared_options,
    }
)


@given(budgets, seeds, options)
def test_law_equals_the_plain_reference(drawn, seed, chosen):
    method = FastVid(**chosen)
    check(method, drawn, seed, plain(method), weighted(method.anchor_weight))


def case():
    """Two frames of three patches; CLS attends to the first of the first frame, and to the last of the second."""
    return features_of(
        [[[9.0, 9.0], [4.0, 0.0], [0.0, 2.0]], [[2.0, 0.0], [0.0, 6.0], [5.0, 5.0]]],
        [[0.5, 0.1, 0.1], [0.1, 0.2, 0.9]],
    )


def test_a_case_worked_by_hand():
    # One segment; its last frame is the anchor frame. Of 3 patches, floor(0.4 * 3) = 1 is pooled, one a frame salient.
    # In the second frame (2, 0) and (0, 6) are left, equally dense: the first is the peak, as is its distance.
    # (4, 0), (0, 2) and (0, 6) join it, w = max(0.6, 1 / 4).
    zipped = FastVid(keep_cls=False, segments=1, threshold=-1.0).compress(case(), [1, 2])
    assert zipped.frame_of.tolist() == [0, 1, 1]
    assert zipped.anchor_of.tolist() == [1, 1, 3]
    assert sources(zipped) == [[-1, 0, 1, 1], [-1, 1, 1, 2]]
    expected = torch.tensor([[9.0, 9.0], [0.6 * 2 + 0.4 * 4 / 3, 0.4 * 8 / 3], [5.0, 5.0]])
    torch.testing.assert_close(zipped.tokens, expected)
    # Two segments: the first, without a pooled patch of its own, drops what is left of it.
    zipped = FastVid(keep_cls=False, segments=2).compress(case(), [1, 2])
    assert sources(zipped) == [[-1, 0, -1, -1], [-1, 1, 1, 2]]


def test_a_weight_of_0_is_the_plain_mean():
    zipped = FastVid(keep_cls=False, segments=1, threshold=-1.0, anchor_weight=0.0).compress(case(), [1, 2])
    torch.testing.assert_close(zipped.tokens[1], torch.tensor([6.0 / 4, 8.0 / 4]))


def test_what_is_left_of_frames_that_are_all_alike_joins_the_last():
    features = all_alike(6, 17)
    zipped = FastVid(segments=1, every=8).compress(features, [5] * 6)
    pooled = {int(place) for place in zipped.source_of(0) if int(place) >= 0 and zipped.frame_of[place] != 0}
    assert {int(zipped.frame_of[place]) for place in pooled} == {5}
    assert (zipped.source >= 0).all()


def test_one_frame_and_fewer_tokens_than_frames():
    features = moving_features(1, 10)
    assert FastVid().compress(features, [6]).anchor_of.tolist()[0] == 0
    many = moving_features(9, 10)
    zipped = FastVid().compress(many, evenly(4, 9))
    assert zipped.frame_of.tolist() == [1, 3, 5, 7]
    assert zipped.anchor_of.tolist() == [0] * 4
    assert (zipped.source >= 0).sum() == 4


@pytest.mark.parametrize(
    "bad",
    [{"pooled": 1.2}, {"segments": 0}, {"threshold": -2.0}, {"every": 0}, {"neighbours": 0}, {"anchor_weight": -0.1}],
)
def test_options_that_cannot_be_are_refused(bad):
    with pytest.raises(BadArgument, match=f"{next(iter(bad))} is"):
        FastVid(**bad)
