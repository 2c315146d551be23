from __future__ import annotations

import pytest

from pipelines.bench.comparing import MEMORY, compare, described
from pipelines.bench.measuring import FROM_FILE, FROM_FRAMES, SHRINK, Measured
from pipelines.bench.settings import ENCODE, FILE, FULL, OURS, PUBLISHED, TOWER, WHOLE, Case


def measured(way, name=SHRINK, values=(1.0, 1.0, 1.0), *, peak=None, **changes):
    case = Case(**{"way": way, "dtype": "float32", "frames": 4, "tokens": 20, **changes})
    return Measured(case=case, rounds=tuple({name: value} for value in values), look_bytes=peak)


def found(*some):
    return [(one.what, one.case.way, one.against.way, one.ratio.median) for one in compare(some)]


def test_by_hand():
    assert found(
        measured(PUBLISHED, values=(2, 6, 40), peak=800),
        measured(WHOLE, values=(5, 5, 5), peak=1600),
        measured(ENCODE, values=(1, 2, 10), tokens=None),
        measured(TOWER, values=(1, 4, 10), tokens=None),
        measured(OURS, values=(1, 2, 10), peak=100),
    ) == [
        (SHRINK, PUBLISHED, OURS, 3),
        (SHRINK, WHOLE, OURS, 2.5),
        (SHRINK, OURS, ENCODE, 1),
        (SHRINK, ENCODE, TOWER, 1),
        (MEMORY, PUBLISHED, OURS, 8),
        (MEMORY, WHOLE, OURS, 16),
    ]


def test_whole_frames_are_what_first_tokens_are_held_against():
    assert found(
        measured(FULL, FROM_FRAMES, (4, 4, 4), frames=8, tokens=None),
        measured(OURS, FROM_FRAMES, (2, 2, 2), frames=16),
    ) == [(FROM_FRAMES, OURS, FULL, 0.5)]
    assert found(
        measured(FULL, FROM_FILE, (4, 4, 4), frames=8, tokens=None, video="a"),
        measured(FILE, FROM_FILE, (1, 1, 1), frames=16, video="a"),
        measured(FILE, FROM_FILE, (1, 1, 1), frames=16, video="b"),
    ) == [(FROM_FILE, FILE, FULL, 0.25)]


def test_only_what_is_alike_is_compared():
    ours = measured(OURS)
    for other in ({"frames": 5}, {"tokens": 21}, {"video": "a"}, {"dtype": "bfloat16"}):
        assert found(ours, measured(PUBLISHED, **other)) == []


def test_ours_in_half_precision_is_held_against_the_published_way_in_both():
    some = [measured(way, dtype=dtype) for way in (PUBLISHED, OURS) for dtype in ("float32", "bfloat16")]
    pairs = [(one.case.dtype, one.against.dtype) for one in compare(some)]
    assert pairs == [("float32", "float32"), ("float32", "bfloat16"), ("bfloat16", "bfloat16")]


def test_a_ratio_has_an_interval_where_there_are_rounds_enough():
    (few,) = compare([measured(PUBLISHED, values=(1,) * 5), measured(OURS, values=(1,) * 5)])
    (many,) = compare([measured(PUBLISHED, values=(1, 2, 3, 4, 5, 6)), measured(OURS, values=(1,) * 6)])
    assert (few.ratio.low, few.ratio.high) == (None, None)
    assert (many.ratio.low, many.ratio.high) == (1, 6)


@pytest.mark.parametrize(
    ("above", "below", "says"),
    [
        (measured(PUBLISHED), measured(OURS, dtype="float16"), (f"{SHRINK}: published / ours", "4 frames, 20 tokens")),
        (measured(TOWER, tokens=None), measured(TOWER, tokens=None), (f"{SHRINK}: tower / tower", "4 frames")),
        (measured(OURS), measured(FULL, tokens=None), (f"{SHRINK}: ours / 8 full frames", "4 frames, 20 tokens")),
    ],
)
def test_what_is_compared_is_said(above, below, says):
    (one,) = compare([measured(PUBLISHED), measured(OURS)])
    other = type(one)(what=SHRINK, case=above.case, against=below.case, ratio=one.ratio)
    what, looks, dtypes = described(other)
    assert (what, looks) == says
    assert dtypes == " / ".join(dict.fromkeys((above.case.dtype, below.case.dtype)))
