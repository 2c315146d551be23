from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from plain_across import (
    PlainChoice,
    Video,
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
from vidzip.compress.coverage import Coverage
from vidzip.compress.facility_location import greedy_cover
from vidzip.planner import split_evenly


def weights_of(video: Video) -> np.ndarray:
    per_frame = video.scores.reshape(video.frames, video.per_frame)
    return (per_frame / per_frame.sum(1, keepdims=True)).ravel()


def plain(method, kept):
    def choose(video, count):
        weights = weights_of(video)
        size = min(len(video.all), max(count, min(method.pool * count, across_frames.MAX_CANDIDATES)))
        candidates = sorted(sorted(video.all, key=lambda patch: -weights[patch])[:size])
        similar = {(u, v): max(0.0, video.cosine(u, v)) for u in candidates for v in candidates}

        def covered(chosen):
            return sum(weights[v] * max(similar[v, u] for u in chosen) for v in candidates)

        chosen = follow(candidates, count, kept, covered)
        return PlainChoice(chosen, {p: video.most_similar(p, chosen) for p in video.all})

    return choose


options = st.fixed_dictionaries({"pool": st.integers(1, 6), "cls_share": st.floats(0, 1), **shared_options})
few = st.tuples(st.integers(1, 5), st.integers(2, 7)).flatmap(
    lambda shape: st.tuples(st.just(shape[0]), st.just(shape[1]), st.integers(1, shape[0] * shape[1]))
)


@given(few, seeds, options)
def test_law_equals_the_plain_reference(drawn, seed, chosen):
    method = Coverage(**chosen)
    kept = patches_kept(method, drawn, seed)
    check(method, drawn, seed, plain(method, kept), max_cls=max(1, int(drawn[2] * method.cls_share)))


@given(st.integers(2, 8), st.integers(1, 4), seeds)
def test_law_at_least_1_minus_1_over_e_of_the_optimum(points, count, seed):
    count = min(count, points)
    draws = torch.Generator().manual_seed(seed)
    unit = F.normalize(torch.randn(points, 4, generator=draws, dtype=torch.float64), dim=-1)
    similarity, weights = (unit @ unit.T).clamp(min=0), torch.rand(points, generator=draws, dtype=torch.float64)

    def covered(chosen):
        return float(similarity[list(chosen)].amax(0) @ weights)

    ours = covered(greedy_cover(similarity, count, weights).tolist())
    best = max(covered(chosen) for chosen in combinations(range(points), count))
    assert (1 - 1 / math.e) * best <= ours + 1e-12
    assert ours <= best + 1e-12


@given(budgets, st.integers(1, 4))
def test_law_no_patch_is_chosen_twice_if_none_adds_anything(drawn, pool):
    frames, size, total = drawn
    features = moving_features(frames, size)
    features.keys.fill_(1.0)
    zipped = Coverage(pool=pool, keep_cls=False).compress(features, split_evenly(total, frames))
    assert len(set(zip(zipped.frame_of.tolist(), zipped.anchor_of.tolist(), strict=True))) == total


def test_a_case_worked_by_hand():
    # CLS attends to patches that point right in the first frame, and up in the second; the third patch of both points
    # left and has no attention, so it is kept last.
    rows = [[[1.0, 0.0], [4.0, 3.0], [-1.0, 0.0]], [[0.0, 1.0], [0.0, 2.0], [-1.0, 0.0]]]
    features = features_of(rows, [[0.8, 0.2, 0.0], [0.3, 0.7, 0.0]])
    found = [sources(Coverage(keep_cls=False).compress(features, [count, 0])) for count in (1, 2, 3)]
    # Alone, (4, 3) covers 0.8 of the first, all of itself, and 0.6 of both that point up: 0.64 + 0.2 + 0.6.
    assert found[0] == [[-1, -1, 0, -1], [-1, -1, -1, -1]]
    # Then a patch that points up adds 0.4, one that points right 0.16; of the two that point up, the first wins.
    assert found[1] == [[-1, -1, 0, -1], [-1, 1, -1, -1]]
    assert found[2] == [[-1, 0, 1, -1], [-1, 2, -1, -1]]


def test_cls_tokens_take_their_share_and_at_least_one():
    features = moving_features(34, 257)
    for total, num_cls in ((136, 8), (34, 2), (10, 1)):
        zipped = Coverage().compress(features, split_evenly(total, 34))
        with_cls = zipped.frame_of[zipped.anchor_of == 0].tolist()
        assert len(with_cls) == num_cls
        assert with_cls == [(2 * i + 1) * 34 // (2 * num_cls) for i in range(num_cls)]
        assert len(zipped.tokens) == total
