from __future__ import annotations

import math
from itertools import combinations

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from plain_across import (
    PlainChoice,
    budgets,
    check,
    features_of,
    follow,
    moving_features,
    patches_kept,
    seeds,
    shared_options,
)
from towers import sources

from vidzip.compress import across_frames
from vidzip.compress.facility_location import FacilityLocation, greedy_cover
from vidzip.planner import split_evenly


def plain(method, kept):
    def choose(video, count):
        size = min(len(video.all), max(count, min(method.pool * count, across_frames.MAX_CANDIDATES)))
        candidates = [
            patch
            for frame, share in enumerate(split_evenly(size, video.frames))
            for patch in video.by_score(video.patches(frame))[:share]
        ]
        similar = {(u, v): video.cosine(u, v) for u in candidates for v in candidates}

        def covered(chosen):
            return sum(max(similar[v, u] for u in chosen) for v in candidates)

        chosen = follow(candidates, count, kept, covered)
        return PlainChoice(chosen, {p: video.most_similar(p, chosen) for p in video.all})

    return choose


options = st.fixed_dictionaries(
    {
        "pool": st.integers(1, 6),
        **shared_options,
    }
)

few = st.tuples(st.integers(1, 5), st.integers(2, 7)).flatmap(
    lambda shape: st.tuples(st.just(shape[0]), st.just(shape[1]), st.integers(1, shape[0] * shape[1]))
)


@given(few, seeds, options)
def test_law_equals_the_plain_reference(drawn, seed, chosen):
    method = FacilityLocation(**chosen)
    check(method, drawn, seed, plain(method, patches_kept(method, drawn, seed)))


@given(st.integers(2, 8), st.integers(1, 4), seeds)
def test_law_at_least_1_minus_1_over_e_of_the_optimum(points, count, seed):
    count = min(count, points)
    unit = F.normalize(torch.randn(points, 4, generator=torch.Generator().manual_seed(seed)), dim=-1)
    similarity = 1 + unit @ unit.T

    def covered(chosen):
        return float(similarity[list(chosen)].amax(0).sum())

    ours = covered(greedy_cover(unit @ unit.T, count, min_similarity=-1).tolist())
    best = max(covered(chosen) for chosen in combinations(range(points), count))
    assert (1 - 1 / math.e) * best <= ours + 1e-5
    assert ours <= best + 1e-5


@given(budgets, st.integers(1, 4))
def test_law_no_patch_is_chosen_twice_if_none_adds_anything(drawn, pool):
    frames, size, total = drawn
    features = moving_features(frames, size)
    features.patches.fill_(1.0)
    zipped = FacilityLocation(pool=pool, keep_cls=False).compress(features, split_evenly(total, frames))
    assert len(set(zip(zipped.frame_of.tolist(), zipped.anchor_of.tolist(), strict=True))) == total


def test_a_case_worked_by_hand():
    # Three patches point about right, two up, and one between, which is the most similar to all. Next, the middle one of
    # the three adds the most to the sum, and then the first of those that point up.
    rows = [[[5.0, 0.5], [9.0, 0.0], [7.0, -0.7]], [[0.0, 2.0], [3.0, 4.0], [0.0, 1.0]]]
    features = features_of(rows, [[0.1] * 3] * 2)
    found = [sources(FacilityLocation(keep_cls=False).compress(features, [count, 0])) for count in (1, 2, 3)]
    assert found == [
        [[-1, -1, -1, -1], [-1, -1, 0, -1]],
        [[-1, -1, 0, -1], [-1, -1, 1, -1]],
        [[-1, -1, 0, -1], [-1, 1, 2, -1]],
    ]
    merged = FacilityLocation(keep_cls=False, merge="mean").compress(features, [3, 0])
    assert sources(merged) == [[-1, 0, 0, 0], [-1, 1, 2, 1]]
    torch.testing.assert_close(merged.tokens, torch.tensor([[7.0, -0.2 / 3], [0.0, 1.5], [3.0, 4.0]]))


def test_candidates_are_bounded(monkeypatch):
    seen = []
    monkeypatch.setattr(across_frames, "MAX_CANDIDATES", 12)
    monkeypatch.setattr(
        "vidzip.compress.facility_location.greedy_cover",
        lambda similarity, count, **options: seen.append(len(similarity)) or greedy_cover(similarity, count, **options),
    )
    features = moving_features(5, 11)
    FacilityLocation(keep_cls=False, pool=2).compress(features, split_evenly(4, 5))
    FacilityLocation(keep_cls=False, pool=8).compress(features, split_evenly(4, 5))
    FacilityLocation(keep_cls=False).compress(features, split_evenly(30, 5))  # as many candidates as tokens: no choice
    assert seen == [8, 12]
