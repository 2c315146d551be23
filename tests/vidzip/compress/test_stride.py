from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from towers import ragged_counts, random_features, sources

from vidzip import zip_frames
from vidzip.compress.grid import places_per_row

drawn_cases = st.tuples(ragged_counts, st.integers(0, 10_000)).map(lambda drawn: (*drawn[0], drawn[1]))


def stride(features, counts):
    return zip_frames(features, counts, "stride")


def patches_of(k, size, **options):
    """The kept patches of one frame, numbered without CLS."""
    zipped = stride(random_features(1, size, **options), k)
    if not zipped.has_cls:
        return zipped.anchor_of.tolist()
    assert zipped.anchor_of[0] == 0
    return [place - 1 for place in zipped.anchor_of.tolist()[1:]]


def test_a_case_worked_by_hand():
    # CLS and 4 of 16 patches on a grid of 4 by 4: rows 1 and 3, columns 1 and 3.
    features = random_features(1, 17)
    zipped = stride(features, 5)
    assert zipped.anchor_of.tolist() == [0, 6, 8, 14, 16]
    assert zipped.tokens.equal(features.tokens[0, [0, 6, 8, 14, 16]])
    assert zipped.source_of(0).tolist() == [0, -1, -1, -1, -1, -1, 1, -1, 2, -1, -1, -1, -1, -1, 3, -1, 4]


def test_seventeen_of_video_llavas_tokens_are_cls_and_a_grid_of_four_by_four():
    # Every 16th in raster order would be one column of the picture.
    assert patches_of(17, 257) == [16 * row + column for row in (2, 6, 10, 14) for column in (2, 6, 10, 14)]


@pytest.mark.parametrize(
    ("grid", "patches"), [((1, 12), [2, 6, 10]), ((12, 1), [2, 6, 10]), ((3, 4), [2, 9, 11]), ((4, 3), [4, 9, 11])]
)
def test_grids_that_are_not_square(grid, patches):
    # 3 patches of a grid of 3 x 4 are in 2 rows, of 1 and 2: rows 0 and 2, columns 2, and 1 and 3.
    assert patches_of(4, 13, grid=grid) == patches
    assert patches_of(3, 12, grid=grid, has_cls=False) == patches


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_law_places_fit_any_grid(rows, columns, data):
    count = data.draw(st.integers(0, rows * columns))
    per_row = places_per_row(count, (rows, columns))
    assert sum(per_row) == count
    assert len(per_row) <= rows
    assert max(per_row, default=0) <= columns
    assert max(per_row, default=0) - min(per_row, default=0) <= 1


@given(st.integers(1, 24), st.data())
def test_law_rows_share_the_patches_evenly(side, data):
    count = data.draw(st.integers(1, side * side))
    rows = [patch // side for patch in patches_of(count + 1, side * side + 1)]
    per_row = [rows.count(row) for row in set(rows)]
    assert len(per_row) == round(math.sqrt(count))
    assert max(per_row) - min(per_row) <= 1


@given(drawn_cases)
def test_law_tokens_are_kept_as_they_are_ascending_and_the_rest_leaves_no_trace(drawn):
    size, counts, seed = drawn
    features = random_features(len(counts), size, seed)
    zipped = stride(features, counts)
    assert zipped.tokens.equal(features.tokens[zipped.frame_of, zipped.anchor_of])
    places = (zipped.frame_of * size + zipped.anchor_of).tolist()
    assert places == sorted(set(places))
    assert (zipped.source >= 0).sum() == len(places)
    for frame, k in enumerate(counts):
        assert (int(zipped.source_of(frame)[0]) >= 0) == (k > 0)


@given(drawn_cases)
def test_law_what_tokens_say_does_not_matter(drawn):
    size, counts, seed = drawn
    here, there = (stride(random_features(len(counts), size, other), counts) for other in (seed, seed + 1))
    assert here.anchor_of.equal(there.anchor_of)
    assert here.source.equal(there.source)


def test_one_token_is_cls_and_all_tokens_are_the_frame():
    features = random_features(3, 10)
    assert stride(features, 1).tokens.equal(features.cls)
    for k in (10, 400):
        whole = stride(features, k)
        assert whole.tokens.equal(features.tokens.flatten(0, 1))
        assert sources(whole) == [list(range(start, start + 10)) for start in (0, 10, 20)]
