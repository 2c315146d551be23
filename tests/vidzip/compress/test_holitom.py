from __future__ import annotations

from itertools import combinations, pairwise

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
    proportional,
    seeds,
    shared_options,
)
from towers import sources

from vidzip.compress.holitom import HoliTom, still_since, windows
from vidzip.errors import BadArgument


def statics(video, first, last, threshold):
    """Patches of the first frame that stand still until the last."""
    still = []
    for patch in video.patches(first):
        path = [patch + step * video.per_frame for step in range(last - first + 1)]
        if all(video.cosine(a, b) > threshold for a, b in pairwise(path)):
            still.append(patch)
    return still


def plain_windows(video, threshold):
    """Dynamic programming as it is published: windows by their ends, the shortest of equals."""
    best, first_of = [], []
    for end in range(video.frames):
        saved, first = (best[end - 1] if end else 0), end
        for start in range(end - 1, -1, -1):
            gain = (end - start) * len(statics(video, start, end, threshold))
            if (best[start - 1] if start else 0) + gain > saved:
                saved, first = (best[start - 1] if start else 0) + gain, start
        best.append(saved)
        first_of.append(first)
    found, end = [], video.frames - 1
    while end >= 0:
        found.insert(0, (first_of[end], end))
        end = first_of[end] - 1
    return found


def plain(method):
    """Choose one window and one frame at a time."""

    def choose(video, count):
        groups, joins = [], {}
        for first, last in plain_windows(video, method.threshold):
            still = statics(video, first, last, method.threshold) if first < last else []
            paths = {p: [p + step * video.per_frame for step in range(last - first + 1)] for p in still}
            joins |= {member: p for p, path in paths.items() for member in path}
            attention = {p: sum(video.scores[path]) / len(path) for p, path in paths.items()}
            for frame in range(first, last + 1):
                groups.append(sorted(still, key=lambda p: (-attention[p], p)) if frame == first else [])
                groups.append(video.by_score([p for p in video.patches(frame) if p not in joins]))
        quotas = proportional([len(group) for group in groups], count)
        anchors = [p for group, quota in zip(groups, quotas, strict=True) for p in group[:quota]]
        leaving = video.by_score([p for p in video.all if p not in anchors])
        anchors += leaving[: count - len(anchors)]
        return Plan(anchors, {p: target for p, target in joins.items() if target in anchors})

    return choose


options = st.fixed_dictionaries(
    {
        "threshold": st.sampled_from([-1.0, 0.0, 0.5, 0.8, 0.95]),
        **shared_options,
    }
)


@given(budgets, seeds, options)
def test_law_equals_the_plain_reference(drawn, seed, chosen):
    method = HoliTom(**chosen)
    check(method, drawn, seed, plain(method))


@given(st.integers(1, 7), st.integers(1, 6), seeds)
def test_law_no_cut_into_windows_saves_more(frames, per_frame, seed):
    is_still = torch.rand(frames - 1, per_frame, generator=torch.Generator().manual_seed(seed)) < 0.7

    def saved(cuts):
        edges = [0, *cuts, frames]
        return sum(
            (after - before - 1) * int(is_still[before : after - 1].all(0).sum()) for before, after in pairwise(edges)
        )

    first, last = windows(still_since(is_still))
    ours = saved(sorted(set(first.tolist()) - {0}))
    assert ours == max(saved(cuts) for n in range(frames) for cuts in combinations(range(1, frames), n))
    for frame, (start, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        assert start <= frame <= end
        assert {int(first[t]) for t in range(start, end + 1)} == {start}


def case():
    """Three frames of two patches: the first stands still and brightens, the second turns each time."""
    return features_of(
        [[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, -2.0]], [[6.0, 0.0], [0.0, 3.0]]],
        [[0.1, 0.5], [0.2, 0.4], [0.3, 0.35]],
    )


def test_a_case_worked_by_hand():
    # One window of three frames: the first patch is static, and saves 2 tokens. Four candidates: the static token in
    # the first frame, and each frame's second patch.
    zipped = HoliTom(keep_cls=False).compress(case(), [2, 1, 1])
    assert zipped.frame_of.tolist() == [0, 0, 1, 2]
    assert zipped.anchor_of.tolist() == [1, 2, 2, 2]
    assert sources(zipped) == [[-1, 0, 1], [-1, 0, 2], [-1, 0, 3]]
    assert zipped.tokens.tolist() == [[3.0, 0.0], [0.0, 1.0], [0.0, -2.0], [0.0, 3.0]]
    # A fifth token: of the two that joined, the one that CLS attends to more leaves its window.
    zipped = HoliTom(keep_cls=False).compress(case(), [2, 2, 1])
    assert sources(zipped) == [[-1, 0, 1], [-1, 0, 2], [-1, 3, 4]]
    assert zipped.tokens[0].tolist() == [1.5, 0.0]
    # Summed, the mean of what joined is added.
    assert HoliTom(keep_cls=False, merge="sum").compress(case(), [2, 1, 1]).tokens[0].tolist() == [5.0, 0.0]
    # Two of four candidates, shared in the order static of the first frame, its others, and so on: the last of each half.
    assert sources(HoliTom(keep_cls=False).compress(case(), [2, 0, 0])) == [
        [-1, -1, 0],
        [-1, -1, -1],
        [-1, -1, 1],
    ]


def test_frames_that_are_all_alike_are_one_frame():
    features = all_alike(6, 17)
    zipped = HoliTom().compress(features, evenly(6 + 16, 6))
    assert zipped.frame_of.tolist() == [0] * 17 + [1, 2, 3, 4, 5]
    torch.testing.assert_close(zipped.tokens[:17], features.tokens[0])
    assert all(source[1:] == list(range(1, 17)) for source in sources(zipped))


def test_one_frame_has_no_windows():
    features = moving_features(1, 10)
    zipped = HoliTom().compress(features, [4])
    top = features.scores[0].argsort(descending=True)[:3] + 1
    assert zipped.anchor_of.tolist() == [0, *sorted(top.tolist())]
    assert (zipped.source >= 0).sum() == 4


def test_options_that_cannot_be_are_refused():
    with pytest.raises(BadArgument, match=r"threshold is 1\.5"):
        HoliTom(threshold=1.5)
