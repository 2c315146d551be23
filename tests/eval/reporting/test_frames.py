from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import plan

from eval.reporting import Merged, Patches, look_of, patches_of


def test_patches_behind_cls_worked_by_hand():
    # Nine patches behind CLS. Token 5 is CLS, 6 is patch 1, 7 stands on patch 4 and holds 0, 4 and 8; the rest is gone.
    source = [5, 7, 6, -1, -1, 7, -1, -1, -1, 7]
    assert patches_of(source, {5: 0, 6: 2, 7: 5}) == Patches(
        side=3,
        kept=(1,),
        merged=(Merged(anchor=4, patches=(0, 4, 8)),),
        dropped=(2, 3, 5, 6, 7),
        elsewhere=(),
        has_cls=True,
    )


def test_patches_without_cls():
    assert patches_of([0, 1, 1, -1], {0: 0, 1: 2}) == Patches(
        side=2, kept=(0,), merged=(Merged(anchor=2, patches=(1, 2)),), dropped=(3,), elsewhere=(), has_cls=None
    )


def test_a_token_on_cls_may_hold_patches_too():
    found = patches_of([0, 0, 1, -1, -1], {0: 0, 1: 2})
    assert (found.kept, found.merged) == ((1,), (Merged(anchor=None, patches=(0,)),))
    assert (found.dropped, found.elsewhere, found.has_cls) == ((2, 3), (), True)


def test_patches_may_end_in_tokens_of_other_frames():
    found = patches_of([7, 8, 9, 8, 3], {7: 0, 8: 1})
    assert (found.merged, found.elsewhere) == ((Merged(anchor=0, patches=(0, 2)),), (1, 3))


@pytest.mark.parametrize("count", [0, 3, 6, 7, 8, 12])
def test_positions_that_make_no_square_have_no_patches(count):
    assert patches_of([-1] * count, {}) is None


@given(st.data())
def test_law_every_patch_ends_in_one_place(data):
    side, first = data.draw(st.integers(2, 6)), data.draw(st.integers(0, 1))
    source = data.draw(st.lists(st.integers(-1, 4), min_size=side**2 + first, max_size=side**2 + first))
    anchors = {token: source.index(token) for token in set(source) - {-1, 4}}  # the last one is another frame's
    found = patches_of(source, anchors)
    assert found.side == side
    everywhere = [
        *found.kept,
        *found.dropped,
        *found.elsewhere,
        *(patch for one in found.merged for patch in one.patches),
    ]
    assert sorted(everywhere) == list(range(side**2))
    assert all(one.anchor is None or one.anchor in one.patches for one in found.merged)


def test_a_look_is_what_the_line_notes():
    look = look_of(plan(5, 4, step=0.5))
    assert [(frame.timestamp_seconds, frame.num_tokens) for frame in look.frames] == [(0.0, 5), (0.5, 4)]
    assert look.method == "visionzip"
    assert look_of({"frames": 0}) is None


@pytest.mark.parametrize(
    "broken",
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
def test_a_plan_that_cannot_be_read_is_said(broken):
    with pytest.raises(ValueError, match="a plan that cannot be read"):
        look_of({"plan": broken})
