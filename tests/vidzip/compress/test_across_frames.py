from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_across import budgets, moving_features, seeds
from towers import mapped, random_features

from vidzip.compress import METHODS, across_frames
from vidzip.compress.across_frames import (
    AcrossFrames,
    argsort_by,
    density_peak_scores,
    find_segments,
    most_similar,
    row_chunks,
    split_in_proportion,
)
from vidzip.compress.coverage import Coverage
from vidzip.errors import BadArgument
from vidzip.planner import split_evenly

METHODS_ACROSS = {name: kind for name, kind in METHODS.items() if issubclass(kind, AcrossFrames)}
across = pytest.mark.parametrize("method", METHODS_ACROSS.values(), ids=METHODS_ACROSS)


def places(zipped):
    return list(zip(zipped.frame_of.tolist(), zipped.anchor_of.tolist(), strict=True))


@across
@given(budgets, seeds, st.booleans())
def test_law_frames_keep_cls_within_the_budget(method, drawn, seed, keep_cls):
    frames, size, total = drawn
    options = {"cls_share": 1.0} if method is Coverage else {}
    chosen = method(keep_cls=keep_cls, **options)
    kept = places(chosen.compress(random_features(frames, size, seed), split_evenly(total, frames)))
    with_cls = [frame for frame, place in kept if place == 0]
    assert kept == sorted(set(kept))
    if not keep_cls:
        assert len(with_cls) == max(0, total - frames * (size - 1))
    elif total >= frames:
        assert with_cls == list(range(frames))
    else:
        assert len(with_cls) == total == len(kept)
        gaps = [after - before for before, after in pairwise(with_cls)]
        assert not gaps or max(gaps) - min(gaps) <= 1


@across
@given(budgets, seeds)
def test_law_cls_is_never_merged(method, drawn, seed):
    frames, size, total = drawn
    features = random_features(frames, size, seed)
    zipped = method().compress(features, split_evenly(total, frames))
    for token, (frame, place) in enumerate(places(zipped)):
        if place == 0:
            assert (zipped.source == token).sum() == 1
            assert zipped.tokens[token].equal(features.cls[frame])
    with_cls = [frame for frame, place in places(zipped) if place == 0]
    assert all((int(zipped.source_of(frame)[0]) >= 0) == (frame in with_cls) for frame in range(frames))


@across
@given(budgets, seeds, st.sampled_from(["mean", "sum"]))
def test_law_merging_does_not_change_which_tokens_are_kept(method, drawn, seed, merge):
    frames, size, total = drawn
    features = random_features(frames, size, seed)
    merged, bare = (method(merge=how).compress(features, split_evenly(total, frames)) for how in (merge, "none"))
    assert places(merged) == places(bare)
    assert bare.tokens.equal(features.tokens[bare.frame_of, bare.anchor_of])
    assert (bare.source >= 0).sum() == total
    alone = torch.bincount(merged.source[merged.source >= 0], minlength=total) == 1
    assert merged.tokens[alone].equal(bare.tokens[alone])


@across
@given(budgets, seeds)
def test_law_only_the_sum_of_the_counts_matters(method, drawn, seed):
    frames, size, total = drawn
    features = random_features(frames, size, seed)
    full, rest = divmod(total, size)
    uneven = [size] * full + [rest] * (full < frames) + [0] * (frames - full - 1)
    here, there = (method().compress(features, counts) for counts in (split_evenly(total, frames), uneven))
    assert here.tokens.equal(there.tokens)
    assert here.source.equal(there.source)


@across
@given(budgets, seeds, st.integers(1, 200))
def test_law_chunks_do_not_change_the_result(method, drawn, seed, limit):
    frames, size, total = drawn
    features = moving_features(frames, size, seed)
    merging = method(merge="mean")
    whole = merging.compress(features, split_evenly(total, frames))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(across_frames, "_CHUNK_ELEMENTS", limit)
        in_chunks = merging.compress(features, split_evenly(total, frames))
    assert places(in_chunks) == places(whole)
    assert in_chunks.source.equal(whole.source)
    torch.testing.assert_close(in_chunks.tokens, whole.tokens, rtol=0, atol=1e-12)


@across
def test_a_budget_of_all_tokens_keeps_them_unchanged(method):
    features = random_features(3, 9)
    zipped = method().compress(features, [9, 9, 9])
    assert zipped.tokens.equal(features.tokens.flatten(0, 1))
    assert zipped.source.flatten().tolist() == list(range(27))
    patches = method(keep_cls=False).compress(features, [8, 8, 8])
    assert patches.tokens.equal(features.patches.flatten(0, 1))


@across
def test_no_tokens_and_no_frames(method):
    assert method().compress(random_features(3, 9), [0, 0, 0]).source.tolist() == [-1] * 27
    assert method().compress(random_features(0, 9), []).tokens.shape == (0, 12)


@across
def test_an_infinity_in_a_dropped_token_does_not_spread(method):
    features = random_features(4, 12)
    features.cls[:] = torch.inf  # CLS, which is never compared or merged
    tokens = method(keep_cls=False, merge="mean").compress(features, [2, 2, 2, 2]).tokens
    assert tokens.isfinite().all()


@across
def test_gradients_flow_through_tokens_but_not_through_choices(method):
    features = random_features(4, 12)
    for part in (features.patches, features.cls, features.keys):
        part.requires_grad_()
    zipped = method(merge="mean").compress(features, [3, 3, 3, 3])
    zipped.tokens.sum().backward()
    counts = torch.bincount(zipped.source[zipped.source >= 0], minlength=12)
    if method is not METHODS["fastvid"]:  # its means are weighted
        given_to = torch.cat([features.cls.grad[:, None], features.patches.grad], dim=1)[..., 0]
        expected = torch.where(zipped.source >= 0, 1 / counts[zipped.source.clamp(min=0)], 0.0).view(4, 12)
        torch.testing.assert_close(given_to, expected)
    assert features.patches.grad.isfinite().all()
    assert features.keys.grad is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@across
@pytest.mark.parametrize("keep_cls", [True, False])
def test_a_gpu_chooses_what_a_cpu_chooses_without_synchronizing(method, keep_cls):
    features = moving_features(12, 50)
    there = mapped(features, torch.Tensor.cuda)
    merging = method(keep_cls=keep_cls, merge="mean")
    torch.cuda.set_sync_debug_mode("error")
    try:
        on_gpu = merging.compress(there, split_evenly(90, 12))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    on_cpu = merging.compress(features, split_evenly(90, 12))
    assert places(on_gpu) == places(on_cpu)
    assert on_gpu.source.cpu().equal(on_cpu.source)
    torch.testing.assert_close(on_gpu.tokens.cpu(), on_cpu.tokens, rtol=0, atol=1e-12)


def test_segments_by_hand():
    # Cosines of consecutive frames: 1, 0.6, 0.96, 0.8.
    frames = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.6, 0.8], [0.8, 0.6], [1.0, 0.0]])
    for least, threshold, expected in (
        (1, -1.0, [0, 0, 0, 0, 0]),
        (2, -1.0, [0, 0, 1, 1, 1]),
        (1, 0.9, [0, 0, 1, 1, 2]),
        (4, 0.9, [0, 0, 1, 2, 3]),
        (9, -1.0, [0, 1, 2, 3, 4]),
    ):
        segment, is_cut = find_segments(frames, least, threshold)
        assert segment.tolist() == expected
        assert is_cut.tolist() == [after != before for before, after in pairwise(expected)]


def test_density_peaks_by_hand():
    # Points 0, 1, 3 on a line. Squared distances to the nearest other point are 1, 1, 4, so densities are exp(-1/2),
    # exp(-1/2), exp(-2). The first is the densest: its gap is the largest distance, 3; the others' are 1 and 2.
    points, mask = torch.tensor([[[0.0], [1.0], [3.0]]]), torch.tensor([[True, True, True]])
    expected = [[-0.5 + math.log(3), -0.5, -2 + math.log(2)]]
    torch.testing.assert_close(density_peak_scores(points, mask, 2), torch.tensor(expected))
    # Without the second point, both densities are exp(-9/2), with a gap of 3.
    mask = torch.tensor([[True, False, True]])
    expected = [[-4.5 + math.log(3), -math.inf, -4.5 + math.log(3)]]
    torch.testing.assert_close(density_peak_scores(points, mask, 2), torch.tensor(expected))


def test_duplicates_and_distant_points_have_finite_scores():
    points = torch.tensor([[[0.0], [0.0], [1e9]]])
    score = density_peak_scores(points, torch.tensor([[True, True, False]]), 4)
    assert score[0, :2].isfinite().all()
    assert score[0, 2] == -math.inf
    assert density_peak_scores(points, torch.ones(1, 3, dtype=torch.bool), 3)[0].isfinite().all()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 80))
def test_law_a_split_in_proportion_is_exact_and_exceeds_no_size(sizes, total):
    parts = split_in_proportion(torch.tensor(sizes), total).tolist()
    assert sum(parts) == min(total, sum(sizes))
    for part, size in zip(parts, sizes, strict=True):
        assert 0 <= part <= size
        assert abs(part - size * min(total, sum(sizes)) / max(1, sum(sizes))) < 1


def test_sorting_by_several_keys():
    is_late, weight = torch.tensor([True, False, False, True]), torch.tensor([1.0, 3.0, 2.0, 1.0])
    assert argsort_by(is_late, weight).tolist() == [2, 1, 0, 3]
    assert argsort_by(-weight).tolist() == [1, 2, 0, 3]


def test_the_first_of_equally_similar_targets_and_minus_1_if_none_is_allowed():
    unit = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    assert most_similar(unit, torch.tensor([2, 0])).tolist() == [[2, 2], [2, 2]]
    is_allowed = torch.tensor([[False, True], [False, False]])
    assert most_similar(unit, torch.tensor([2, 0]), is_allowed).tolist() == [[0, 0], [-1, -1]]
    assert most_similar(unit, torch.empty(0, dtype=torch.long)).tolist() == [[-1, -1], [-1, -1]]


@given(st.integers(1, 50), st.integers(0, 50), st.integers(1, 100))
def test_law_row_chunks_cover_all_rows_within_the_limit(length, width, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(across_frames, "_CHUNK_ELEMENTS", limit)
        found = list(row_chunks(length, width))
    assert [row for rows in found for row in range(rows.start, rows.stop)] == list(range(length))
    assert all((rows.stop - rows.start) * width <= limit or rows.stop - rows.start == 1 for rows in found)


def test_no_key_to_sort_by_is_refused():
    with pytest.raises(BadArgument):
        argsort_by()
