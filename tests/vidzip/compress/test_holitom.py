from __future__ import annotations

from itertools import combinations, pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_across import (
    PlainChoice,
    budgets,
    check,
    features_of,
    identical_frames,
    moving_features,
    proportional,
    seeds,
    shared_options,
)
from towers import sources

from vidzip.compress.holitom import HoliTom, find_windows, static_since
from vidzip.planner import split_evenly


def statics(video, first, last, threshold):
    """Patches of the first frame that are static until the last."""
    static = []
    for patch in video.patches(first):
        path = [patch + step * video.per_frame for step in range(last - first + 1)]
        if all(video.cosine(a, b) > threshold for a, b in pairwise(path)):
            static.append(patch)
    return static


def plain_windows(video, threshold):
    """Dynamic programming as published: windows by their ends, the shortest on ties."""
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
    """Choose from one window and one frame at a time."""

    def choose(video, count):
        groups, targets = [], {}
        for first, last in plain_windows(video, method.threshold):
            static = statics(video, first, last, method.threshold) if first < last else []
            paths = {p: [p + step * video.per_frame for step in range(last - first + 1)] for p in static}
            targets |= {member: p for p, path in paths.items() for member in path}
            attention = {p: sum(video.scores[path]) / len(path) for p, path in paths.items()}
            for frame in range(first, last + 1):
                groups.append(sorted(static, key=lambda p: (-attention[p], p)) if frame == first else [])
                groups.append(video.by_score([p for p in video.patches(frame) if p not in targets]))
        quotas = proportional([len(group) for group in groups], count)
        anchors = [p for group, quota in zip(groups, quotas, strict=True) for p in group[:quota]]
        leaving = video.by_score([p for p in video.all if p not in anchors])
        anchors += leaving[: count - len(anchors)]
        return PlainChoice(anchors, {p: target for p, target in targets.items() if target in anchors})

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
def test_law_no_division_into_windows_saves_more(frames, per_frame, seed):
    is_static = torch.rand(frames - 1, per_frame, generator=torch.Generator().manual_seed(seed)) < 0.7

    def saved(cuts):
        edges = [0, *cuts, frames]
        return sum(
            (after - before - 1) * int(is_static[before : after - 1].all(0).sum()) for before, after in pairwise(edges)
        )

    first, last = find_windows(static_since(is_static))
    ours = saved(sorted(set(first.tolist()) - {0}))
    assert ours == max(saved(cuts) for n in range(frames) for cuts in combinations(range(1, frames), n))
    for frame, (start, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        assert start <= frame <= end
        assert {int(first[t]) for t in range(start, end + 1)} == {start}


def case():
    """Three frames of two patches: the first is static and grows in length, the second turns in every frame."""
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
    # A fifth token: of the two merged patches, the one with more attention leaves its window.
    zipped = HoliTom(keep_cls=False).compress(case(), [2, 2, 1])
    assert sources(zipped) == [[-1, 0, 1], [-1, 0, 2], [-1, 3, 4]]
    assert zipped.tokens[0].tolist() == [1.5, 0.0]
    # With merge="sum", the mean of the members is added.
    assert HoliTom(keep_cls=False, merge="sum").compress(case(), [2, 1, 1]).tokens[0].tolist() == [5.0, 0.0]
    # Two of four candidates, split in the order: static tokens of the first frame, its others, and so on.
    assert sources(HoliTom(keep_cls=False).compress(case(), [2, 0, 0])) == [
        [-1, -1, 0],
        [-1, -1, -1],
        [-1, -1, 1],
    ]


def test_identical_frames_are_merged_into_one():
    features = identical_frames(6, 17)
    zipped = HoliTom().compress(features, split_evenly(6 + 16, 6))
    assert zipped.frame_of.tolist() == [0] * 17 + [1, 2, 3, 4, 5]
    torch.testing.assert_close(zipped.tokens[:17], features.tokens[0])
    assert all(source[1:] == list(range(1, 17)) for source in sources(zipped))


def test_one_frame_has_no_windows():
    features = moving_features(1, 10)
    zipped = HoliTom().compress(features, [4])
    top = features.scores[0].argsort(descending=True)[:3] + 1
    assert zipped.anchor_of.tolist() == [0, *sorted(top.tolist())]
    assert (zipped.source >= 0).sum() == 4
