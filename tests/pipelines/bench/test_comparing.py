from __future__ import annotations

import pytest

from pipelines.bench.comparing import MEMORY, compare, describe_comparison
from pipelines.bench.measuring import ENCODE_COMPRESS, FROM_FILE, FROM_FRAMES, CaseResult
from pipelines.bench.settings import ENCODE, FILE, PUBLISHED, PUBLISHED_ONE_BATCH, TOWER, UNCOMPRESSED, VIDZIP, Case


def measured(variant, name=ENCODE_COMPRESS, values=(1.0, 1.0, 1.0), *, peak=None, **changes):
    case = Case(**{"variant": variant, "dtype": "float32", "frames": 4, "tokens": 20, **changes})
    return CaseResult(case=case, rounds=tuple({name: value} for value in values), encode_peak_bytes=peak)


def found(*some):
    return [(one.name, one.case.variant, one.baseline.variant, one.ratio.median) for one in compare(some)]


def test_by_hand():
    assert found(
        measured(PUBLISHED, values=(2, 6, 40), peak=800),
        measured(PUBLISHED_ONE_BATCH, values=(5, 5, 5), peak=1600),
        measured(ENCODE, values=(1, 2, 10), tokens=None),
        measured(TOWER, values=(1, 4, 10), tokens=None),
        measured(VIDZIP, values=(1, 2, 10), peak=100),
    ) == [
        (ENCODE_COMPRESS, PUBLISHED, VIDZIP, 3),
        (ENCODE_COMPRESS, PUBLISHED_ONE_BATCH, VIDZIP, 2.5),
        (ENCODE_COMPRESS, VIDZIP, ENCODE, 1),
        (ENCODE_COMPRESS, ENCODE, TOWER, 1),
        (MEMORY, PUBLISHED, VIDZIP, 8),
        (MEMORY, PUBLISHED_ONE_BATCH, VIDZIP, 16),
    ]


def test_first_tokens_are_compared_with_uncompressed_frames():
    assert found(
        measured(UNCOMPRESSED, FROM_FRAMES, (4, 4, 4), frames=8, tokens=None),
        measured(VIDZIP, FROM_FRAMES, (2, 2, 2), frames=16),
    ) == [(FROM_FRAMES, VIDZIP, UNCOMPRESSED, 0.5)]
    assert found(
        measured(UNCOMPRESSED, FROM_FILE, (4, 4, 4), frames=8, tokens=None, video="a"),
        measured(FILE, FROM_FILE, (1, 1, 1), frames=16, video="a"),
        measured(FILE, FROM_FILE, (1, 1, 1), frames=16, video="b"),
    ) == [(FROM_FILE, FILE, UNCOMPRESSED, 0.25)]


def test_only_equal_settings_are_compared():
    ours = measured(VIDZIP)
    for other in ({"frames": 5}, {"tokens": 21}, {"video": "a"}, {"dtype": "bfloat16"}):
        assert found(ours, measured(PUBLISHED, **other)) == []


def test_vidzip_in_half_precision_is_compared_with_published_in_both():
    some = [measured(variant, dtype=dtype) for variant in (PUBLISHED, VIDZIP) for dtype in ("float32", "bfloat16")]
    pairs = [(one.case.dtype, one.baseline.dtype) for one in compare(some)]
    assert pairs == [("float32", "float32"), ("float32", "bfloat16"), ("bfloat16", "bfloat16")]


def test_a_ratio_has_an_interval_from_six_rounds_on():
    (few,) = compare([measured(PUBLISHED, values=(1,) * 5), measured(VIDZIP, values=(1,) * 5)])
    (many,) = compare([measured(PUBLISHED, values=(1, 2, 3, 4, 5, 6)), measured(VIDZIP, values=(1,) * 6)])
    assert (few.ratio.low, few.ratio.high) == (None, None)
    assert (many.ratio.low, many.ratio.high) == (1, 6)


@pytest.mark.parametrize(
    ("above", "below", "expected"),
    [
        (
            measured(PUBLISHED),
            measured(VIDZIP, dtype="float16"),
            (f"{ENCODE_COMPRESS}: published / vidzip", "4 frames, 20 tokens"),
        ),
        (measured(TOWER, tokens=None), measured(TOWER, tokens=None), (f"{ENCODE_COMPRESS}: tower / tower", "4 frames")),
        (
            measured(VIDZIP),
            measured(UNCOMPRESSED, tokens=None),
            (f"{ENCODE_COMPRESS}: vidzip / 8 uncompressed frames", "4 frames, 20 tokens"),
        ),
    ],
)
def test_comparisons_are_described(above, below, expected):
    (one,) = compare([measured(PUBLISHED), measured(VIDZIP)])
    other = type(one)(name=ENCODE_COMPRESS, case=above.case, baseline=below.case, ratio=one.ratio)
    what, sizes, dtypes = describe_comparison(other)
    assert (what, sizes) == expected
    assert dtypes == " / ".join(dict.fromkeys((above.case.dtype, below.case.dtype)))
