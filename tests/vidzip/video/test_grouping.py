from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidzip.video.grouping import Group, group
from vidzip.video.indexing import FirstPicture, Index


def index_with(ticks, keys) -> Index:
    return Index(
        first=FirstPicture(rotation=0, width=64, height=64, tick=ticks[0]),
        ticks=np.array(ticks, dtype=np.int64),
        keys=np.array(keys, dtype=np.int64),
        lasts=1,
        num_bytes=0,
        step=None,
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
        # Between 6 and the keyframe at 10 lie 7, 8 and 9: three frames are worth a jump, two are not.
        ([6, 10], [(0, [6]), (1, [10])]),
        ([7, 10], [(0, [7, 10])]),
        ([9, 10], [(0, [9, 10])]),
        # What counts is how far it is to the keyframe, not to the frame wanted after it.
        ([7, 19], [(0, [7, 19])]),
        ([6, 13], [(0, [6]), (1, [13])]),
        # The second is joined to the first, and the third to both of them.
        ([8, 18, 28, 31], [(0, [8, 18, 28, 31])]),
        ([8, 12, 21], [(0, [8, 12]), (2, [21])]),
        ([8, 12, 16, 21], [(0, [8, 12, 16]), (2, [21])]),
        ([5, 15, 18, 25, 45], [(0, [5]), (1, [15, 18, 25]), (4, [45])]),
        (range(50), [(0, range(50))]),
    ],
)
def test_groups_worked_by_hand(wanted, groups):
    assert group(EVERY_TEN, list(wanted)) == [Group(key=key, wanted=tuple(ticks)) for key, ticks in groups]


def test_frames_shown_before_a_keyframe_belong_to_the_group_before_it():
    # An open group: the keyframe shown at 12 comes before the frames at 10 and 11, which also build on the group before.
    index = index_with(range(30), [0, 12, 24])
    assert group(index, [10]) == [Group(key=0, wanted=(10,))]
    assert group(index, [3, 12]) == [Group(key=0, wanted=(3,)), Group(key=1, wanted=(12,))]
    assert group(index, [11, 12]) == [Group(key=0, wanted=(11, 12))]
    assert group(index, [20, 23]) == [Group(key=1, wanted=(20, 23))]


def test_frames_are_counted_not_ticks():
    # From 0 to the keyframe at 9,000 no frame lies between, however long that takes.
    index = index_with([0, 9000, 9001, 9002, 9003, 9004], [0, 9000, 9004])
    assert group(index, [0, 9000]) == [Group(key=0, wanted=(0, 9000))]
    assert group(index, [9000, 9004]) == [Group(key=1, wanted=(9000,)), Group(key=2, wanted=(9004,))]


def test_all_frames_build_on_the_first_where_nothing_else_is_a_keyframe():
    assert group(index_with([3, 5, 8], [3]), [3, 8]) == [Group(key=0, wanted=(3, 8))]


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
    groups = group(index_with(ticks, keys), wanted)
    assert [tick for one in groups for tick in one.wanted] == wanted  # each once, in order
    for one in groups:
        start, *later = one.wanted
        assert keys[one.key] == max(key for key in keys if key <= start)
        for before, tick in zip(one.wanted, later, strict=False):
            newest = max(key for key in keys if key <= tick)
            assert newest <= before or sum(before < other < newest for other in ticks) < 3
    for one, following in pairwise(groups):
        assert one.key < following.key
        assert sum(one.wanted[-1] < tick < keys[following.key] for tick in ticks) >= 3
