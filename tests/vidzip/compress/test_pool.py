from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from towers import features_of_tokens, ragged_counts, random_features, sources

from vidzip import zip_frames


def pool(features, counts, **options):
    return zip_frames(features, counts, "pool", **options)


def test_a_case_worked_by_hand():
    # 4 of 16 patches: 2 by 2 of each make one, which stands on the last of them.
    features = random_features(1, 17)
    zipped = pool(features, 5)
    assert zipped.anchor_of.tolist() == [0, 6, 8, 14, 16]
    rows = [1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]
    assert zipped.source_of(0).tolist() == [0, *(token for row in rows for token in row)]
    corner = features.tokens[0, [1, 2, 5, 6]]
    torch.testing.assert_close(zipped.tokens[1], corner.mean(0))
    assert zipped.tokens[0].equal(features.tokens[0, 0])
    without = pool(features, 4, keep_cls=False)
    assert without.source_of(0).tolist() == [-1, *(token - 1 for row in rows for token in row)]
    assert without.tokens.equal(zipped.tokens[1:])


def test_seventeen_of_video_llavas_tokens_are_cls_and_squares_of_sixteen_patches():
    features = random_features(2, 257)
    zipped = pool(features, 17)
    grid = features.patches.reshape(2, 4, 4, 4, 4, 12).mean(dim=(2, 4)).reshape(2, 16, 12)
    torch.testing.assert_close(zipped.tokens.unflatten(0, (2, 17))[:, 1:], grid)


def test_rows_of_different_lengths():
    # 3 rectangles are 2 rows, of 1 and 2; three lines of patches are one and two.
    assert sources(pool(random_features(1, 10), 4)) == [[0, 1, 1, 1, 2, 3, 3, 2, 3, 3]]
    # 5 patches are a line: 2 rectangles of 2 and 3.
    zipped = pool(random_features(1, 6), 2, keep_cls=False)
    assert sources(zipped) == [[-1, 0, 0, 1, 1, 1]]
    assert zipped.anchor_of.tolist() == [2, 4]


@pytest.mark.parametrize("keep_cls", [True, False])
@given(ragged_counts, st.integers(0, 10_000))
def test_law_tokens_are_the_means_of_what_ended_in_them(keep_cls, drawn, seed):
    size, counts = drawn
    features = random_features(len(counts), size, seed)
    zipped = pool(features, counts, keep_cls=keep_cls)
    for token in range(len(zipped.tokens)):
        members = (zipped.source == token).view(features.num_frames, -1)
        assert members.any(dim=1).nonzero().tolist() == [[int(zipped.frame_of[token])]]
        torch.testing.assert_close(zipped.tokens[token], features.tokens[members].mean(0))
    for frame, count in enumerate(counts):
        dropped = zipped.source_of(frame) < 0
        patches_are_merged = count > 1 or (count == 1 and not keep_cls) or count >= size
        assert dropped[1:].any() != patches_are_merged
        assert bool(dropped[0]) == (count == 0 or (not keep_cls and count < size))


@given(st.integers(1, 17), st.data())
def test_law_rectangles_are_about_equal(side, data):
    count = data.draw(st.integers(1, side * side))
    source = pool(random_features(1, side * side + 1), count, keep_cls=False).source[1:].reshape(side, side)
    shapes = []
    for token in range(count):
        rows, columns = (source == token).nonzero().T
        height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert height * width == len(rows)
        shapes.append((height, width))
    heights = [height for height, _ in shapes]
    assert max(heights) - min(heights) <= 1


def test_an_infinite_cls_stays_where_it_is():
    features = random_features(2, 17)
    features.cls[:] = torch.inf
    tokens = pool(features, 5).tokens.unflatten(0, (2, 5))
    assert tokens[:, 0].isinf().all()
    assert tokens[:, 1:].isfinite().all()


def test_half_precision_averages_without_overflow():
    # The sum of 256 patches of 1,000 passes float16.
    features = features_of_tokens(torch.full((1, 257, 4), 1000.0).half(), torch.ones(1, 257, 2), torch.ones(1, 257))
    assert pool(features, 2).tokens.equal(features.tokens[0, :2])
