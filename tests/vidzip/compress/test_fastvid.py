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
    scores,
    seeds,
    segments,
    shared_options,
    summed,
)
from towers import sources

from vidzip.compress.fastvid import FastVid
from vidzip.planner import split_evenly


def plain(method):
    """Choose as published, one segment and one frame at a time."""

    def choose(video, count):
        pooled = int(method.pooled * count)
        salient = [
            patch
            for frame, quota in enumerate(split_evenly(count - pooled, video.frames))
            for patch in video.by_score(video.patches(frame))[:quota]
        ]
        of_frame = split_evenly(pooled, video.frames)
        within, spare, score = [], [], {}
        found = segments(video, method.segments, method.threshold)
        for frames in found:
            anchors = frames[::-1][:: method.every][::-1]
            quotas = split_evenly(sum(of_frame[frame] for frame in frames), len(anchors))
            for frame in frames:
                left = [patch for patch in video.patches(frame) if patch not in salient]
                ranked = peaks(video, left, method.neighbours)
                quota = quotas[anchors.index(frame)] if frame in anchors else 0
                within += ranked[:quota]
                spare += ranked[quota:]
                score |= scores(video, left, method.neighbours)
        spare.sort(key=lambda patch: (-score[patch], patch))
        kept = (within + spare)[:pooled]
        targets = {}
        for frames in found:
            here = [p for p in kept if video.frame(p) in frames]
            targets |= {p: video.most_similar(p, here) for frame in frames for p in video.patches(frame)}
        return PlainChoice(salient + kept, targets)

    return choose


def weighted(weight):
    def merge(anchor, others):
        own = max(weight, 1 / (len(others) + 1))
        return own * anchor + (1 - own) * others.mean(0)

    return {"mean": merge, "sum": summed}


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
@settings(derandomize=True)  # two points of equal density are ordered by rounding
def test_law_equals_the_plain_reference(drawn, seed, chosen):
    method = FastVid(**chosen)
    check(method, drawn, seed, plain(method), weighted(method.anchor_weight))


def case():
    """Two frames of three patches; CLS attends to the first one of the first frame, and to the last of the second."""
    return features_of(
        [[[9.0, 9.0], [4.0, 0.0], [0.0, 2.0]], [[2.0, 0.0], [0.0, 6.0], [5.0, 5.0]]],
        [[0.5, 0.1, 0.1], [0.1, 0.2, 0.9]],
    )


def test_a_case_worked_by_hand():
    # One segment; its last frame is the anchor frame. Of 3 patches, floor(0.4 * 3) = 1 is pooled, one per frame salient.
    # In the second frame (2, 0) and (0, 6) are left, equally dense: the first is the peak. (4, 0), (0, 2) and (0, 6) are
    # merged into it, w = max(0.6, 1 / 4).
    zipped = FastVid(keep_cls=False, segments=1, threshold=-1.0).compress(case(), [1, 2])
    assert zipped.frame_of.tolist() == [0, 1, 1]
    assert zipped.anchor_of.tolist() == [1, 1, 3]
    assert sources(zipped) == [[-1, 0, 1, 1], [-1, 1, 1, 2]]
    expected = torch.tensor([[9.0, 9.0], [0.6 * 2 + 0.4 * 4 / 3, 0.4 * 8 / 3], [5.0, 5.0]])
    torch.testing.assert_close(zipped.tokens, expected)
    # Two segments: the first has no pooled patch, and drops the rest of its patches.
    zipped = FastVid(keep_cls=False, segments=2).compress(case(), [1, 2])
    assert sources(zipped) == [[-1, 0, -1, -1], [-1, 1, 1, 2]]


def test_a_weight_of_0_is_the_plain_mean():
    zipped = FastVid(keep_cls=False, segments=1, threshold=-1.0, anchor_weight=0.0).compress(case(), [1, 2])
    torch.testing.assert_close(zipped.tokens[1], torch.tensor([6.0 / 4, 8.0 / 4]))


def test_the_rest_of_identical_frames_is_merged_into_the_last():
    features = identical_frames(6, 17)
    zipped = FastVid(segments=1, every=8).compress(features, [5] * 6)
    pooled = {int(place) for place in zipped.source_of(0) if int(place) >= 0 and zipped.frame_of[place] != 0}
    assert {int(zipped.frame_of[place]) for place in pooled} == {5}
    assert (zipped.source >= 0).all()
