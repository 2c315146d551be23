from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidzip.video.indexing import FirstFrame, FrameIndex
from vidzip.video.keyframe_groups import KeyframeGroup, group_by_keyframe, split_last_keyframe


def index_with(ticks, keys) -> FrameIndex:
    return FrameIndex(
        first=FirstFrame(rotation=0, width=64, height=64, tick=ticks[0]),
        ticks=np.array(ticks, dtype=np.int64),
        keyframes=np.array(keys, dtype=np.int64),
        last_ticks=1,
        num_bytes=0,
        ticks_per_frame=None,
        time_base=Fraction(1, 25),
        origin_seconds=0.0,
    )


EVERY_TEN = index_with(range(50), range(0, 50, 10))


@pytest.mark.parametrize(
    ("wanted", "groups"),
    [
        ([0], [(0, [0])]),
        ([27], [(2, [27])]),
        ([49], [(4, [49])]),
        ([0, 5, 9], [(0, [0, 5, 9])]),
        # Between 6 and the keyframe at 10 are 7, 8 and 9: skipping three frames is worth a seek, two is not.
        ([6, 10], [(0, [6]), (1, [10])]),
        ([7, 10], [(0, [7, 10])]),
        ([9, 10], [(0, [9, 10])]),
        # The distance to the keyframe counts, not that to the wanted frame after it.
        ([7, 19], [(0, [7, 19])]),
        ([6, 13], [(0, [6]), (1, [13])]),
        # The second is joined to the first, and the third to both.
        ([8, 18, 28, 31], [(0, [8, 18, 28, 31])]),
        ([8, 12, 21], [(0, [8, 12]), (2, [21])]),
        ([8, 12, 16, 21], [(0, [8, 12, 16]), (2, [21])]),
        ([5, 15, 18, 25, 45], [(0, [5]), (1, [15, 18, 25]), (4, [45])]),
        (range(50), [(0, range(50))]),
    ],
)
def test_groups(wanted, groups):
    assert group_by_keyframe(EVERY_TEN, list(wanted)) == [
        KeyframeGroup(keyframe=key, wanted=tuple(ticks)) for key, ticks in groups
    ]


def test_frames_displayed_before_a_keyframe_belong_to_the_group_before_it():
    # An open group: the keyframe displayed at 12 is stored before the frames at 10 and 11.
    index = index_with(range(30), [0, 12, 24])
    assert group_by_keyframe(index, [10]) == [KeyframeGroup(keyframe=0, wanted=(10,))]
    assert group_by_keyframe(index, [3, 12]) == [
        KeyframeGroup(keyframe=0, wanted=(3,)),
        KeyframeGroup(keyframe=1, wanted=(12,)),
    ]
    assert group_by_keyframe(index, [11, 12]) == [KeyframeGroup(keyframe=0, wanted=(11, 12))]
    assert group_by_keyframe(index, [20, 23]) == [KeyframeGroup(keyframe=1, wanted=(20, 23))]


def test_frames_are_counted_not_ticks():
    # There is no frame between 0 and the keyframe at 9,000.
    index = index_with([0, 9000, 9001, 9002, 9003, 9004], [0, 9000, 9004])
    assert group_by_keyframe(index, [0, 9000]) == [KeyframeGroup(keyframe=0, wanted=(0, 9000))]
    assert group_by_keyframe(index, [9000, 9004]) == [
        KeyframeGroup(keyframe=1, wanted=(9000,)),
        KeyframeGroup(keyframe=2, wanted=(9004,)),
    ]


def test_a_single_keyframe():
    assert group_by_keyframe(index_with([3, 5, 8], [3]), [3, 8]) == [KeyframeGroup(keyframe=0, wanted=(3, 8))]


@st.composite
def videos(draw):
    """Draw a video's frames, keyframes and wanted frames, all ticks."""
    ticks = sorted(draw(st.sets(st.integers(-50, 400), min_size=1, max_size=60)))
    keys = sorted({ticks[0], *draw(st.sets(st.sampled_from(ticks)))})
    wanted = sorted(draw(st.sets(st.sampled_from(ticks), min_size=1)))
    return ticks, keys, wanted


@given(video=videos())
def test_law_of_groups(video):
    ticks, keys, wanted = video
    groups = group_by_keyframe(index_with(ticks, keys), wanted)
    assert [tick for one in groups for tick in one.wanted] == wanted  # each once, in order
    for one in groups:
        start, *later = one.wanted
        assert keys[one.keyframe] == max(key for key in keys if key <= start)
        for before, tick in zip(one.wanted, later, strict=False):
            newest = max(key for key in keys if key <= tick)
            assert newest <= before or sum(before < other < newest for other in ticks) < 3
    for one, following in pairwise(groups):
        assert one.keyframe < following.keyframe
        assert sum(one.wanted[-1] < tick < keys[following.keyframe] for tick in ticks) >= 3


@pytest.mark.parametrize(
    ("joined", "parts"),
    [
        ((0, [3, 9, 12]), [(0, [3, 9]), (1, [12])]),
        ((0, [8, 18, 28, 31]), [(0, [8, 18, 28]), (3, [31])]),
        ((2, [21, 27]), [(2, [21, 27])]),
    ],
)
def test_the_frames_from_the_last_keyframe_on_are_split_off(joined, parts):
    group, *expected = (KeyframeGroup(keyframe=key, wanted=tuple(ticks)) for key, ticks in (joined, *parts))
    assert split_last_keyframe(EVERY_TEN, group, seek=pytest.fail) == expected


def test_a_header_may_list_a_keyframe_some_frames_early():
    index = replace(EVERY_TEN, ticks_per_frame=1)
    group = KeyframeGroup(keyframe=0, wanted=(8, 11, 21, 23))
    split = split_last_keyframe(index, group, seek={10: 12, 20: 22}.__getitem__)
    assert split == [KeyframeGroup(keyframe=0, wanted=(8, 11, 21)), KeyframeGroup(keyframe=2, wanted=(23,))]
    split = split_last_keyframe(index, group, seek={10: 12, 20: 25}.__getitem__)
    assert split == [KeyframeGroup(keyframe=0, wanted=(8, 11)), KeyframeGroup(keyframe=1, wanted=(21, 23))]
    assert split_last_keyframe(index, group, seek=lambda _: None) == [group]
