from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import plan

from eval.reporting import MergedToken, PatchMap, map_patches, read_input_frames


def test_patches_with_cls_worked_by_hand():
    # CLS and nine patches. Token 5 is CLS, 6 is patch 1, 7 has the position of patch 4 and merges 0, 4 and 8.
    source = [5, 7, 6, -1, -1, 7, -1, -1, -1, 7]
    assert map_patches(source, {5: 0, 6: 2, 7: 5}, grid=(3, 3), has_cls=True) == PatchMap(
        rows=3,
        columns=3,
        kept=(1,),
        merged=(MergedToken(anchor=4, patches=(0, 4, 8)),),
        dropped=(2, 3, 5, 6, 7),
        elsewhere=(),
        has_cls=True,
    )


def test_patches_without_cls_in_a_grid_that_is_no_square():
    assert map_patches([0, 1, 1, -1, -1, -1], {0: 0, 1: 2}, grid=(2, 3), has_cls=False) == PatchMap(
        rows=2,
        columns=3,
        kept=(0,),
        merged=(MergedToken(anchor=2, patches=(1, 2)),),
        dropped=(3, 4, 5),
        elsewhere=(),
        has_cls=None,
    )


def test_a_token_at_cls_may_contain_patches():
    found = map_patches([0, 0, 1, -1, -1], {0: 0, 1: 2}, grid=(2, 2), has_cls=True)
    assert (found.kept, found.merged) == ((1,), (MergedToken(anchor=None, patches=(0,)),))
    assert (found.dropped, found.elsewhere, found.has_cls) == ((2, 3), (), True)


def test_patches_may_be_merged_into_tokens_of_other_frames():
    found = map_patches([7, 8, 9, 8, 3], {7: 0, 8: 1}, grid=(2, 2), has_cls=True)
    assert (found.merged, found.elsewhere) == ((MergedToken(anchor=0, patches=(0, 2)),), (1, 3))


@pytest.mark.parametrize("count", [0, 3, 5])
def test_another_number_of_positions_than_the_grids_is_refused(count):
    with pytest.raises(ValueError, match=f"{count} source positions"):
        map_patches([-1] * count, {}, grid=(2, 2), has_cls=False)


@given(st.data())
def test_law_every_patch_is_in_one_place(data):
    rows, columns = data.draw(st.integers(2, 6)), data.draw(st.integers(2, 6))
    has_cls = data.draw(st.booleans())
    size = rows * columns + has_cls
    source = data.draw(st.lists(st.integers(-1, 4), min_size=size, max_size=size))
    anchors = {token: source.index(token) for token in set(source) - {-1, 4}}  # token 4 belongs to another frame
    found = map_patches(source, anchors, grid=(rows, columns), has_cls=has_cls)
    merged = [patch for one in found.merged for patch in one.patches]
    assert sorted([*found.kept, *found.dropped, *found.elsewhere, *merged]) == list(range(found.num_patches))
    assert all(one.anchor is None or one.anchor in one.patches for one in found.merged)


def test_frames_and_tokens_are_read_from_the_plan():
    selection = read_input_frames(plan(5, 4, step=0.5))
    assert [(frame.timestamp_seconds, frame.num_tokens) for frame in selection.frames] == [(0.0, 5), (0.5, 4)]
    assert selection.method == "visionzip"
    assert read_input_frames({"frames": 0}) is None


@pytest.mark.parametrize(
    "plan",
    [
        "nonsense",
        {"method": "visionzip"},
        {"timestamps_seconds": [1.0], "tokens_per_frame": [1, 2], "method": "visionzip"},
        {"timestamps_seconds": [None], "tokens_per_frame": [1], "method": "visionzip"},
        {"timestamps_seconds": [float("nan")], "tokens_per_frame": [1], "method": "visionzip"},
        {"timestamps_seconds": [-1.0], "tokens_per_frame": [1], "method": "visionzip"},
        {"timestamps_seconds": [1.0], "tokens_per_frame": [-1], "method": "visionzip"},
    ],
)
def test_a_malformed_plan_is_refused(plan):
    with pytest.raises(ValueError, match="plan"):
        read_input_frames({"plan": plan})
