from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidzip import split_budget
from vidzip.compress.counts import largest_remainder, split_by_size


@given(st.integers(1, 40), st.data())
def test_frames_of_equal_sizes_get_what_the_planner_gives_them(frames, data):
    total = data.draw(st.integers(frames, frames * 9))
    assert tuple(split_by_size(total, [9] * frames)) == split_budget(total, frames)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 400))
def test_law_a_split_by_size_is_exact_and_exceeds_no_size(sizes, total):
    counts = split_by_size(total, sizes)
    assert sum(counts) == min(total, sum(sizes))
    for count, size in zip(counts, sizes, strict=True):
        assert 0 <= count <= size
        assert abs(count - size * min(1, total / sum(sizes))) < 1


@given(st.integers(1, 40), st.data())
def test_law_fewer_tokens_than_frames_are_spread_evenly(frames, data):
    total = data.draw(st.integers(1, frames))
    places = [i for i, count in enumerate(split_by_size(total, [9] * frames)) if count]
    assert len(places) == total
    gaps = [after - before for before, after in zip([-1, *places], places, strict=False)]
    assert max(gaps) - min(gaps) <= 1


def plain_largest_remainder(weights, total, least, most):
    """A plain reference of :func:`largest_remainder`: exact fractions, one frame at a time."""
    by_weight = sorted(range(len(weights)), key=lambda frame: -weights[frame])
    chosen = by_weight
    if least * len(weights) > total:
        chosen = by_weight[: max(total // least, -(-total // most))]
    base = min(least, most, total // len(chosen))
    counts = [base if frame in chosen else 0 for frame in range(len(weights))]
    left, others = total - base * len(chosen), list(chosen)
    while others and weights[others[0]] * left > (most - base) * sum(weights[frame] for frame in others):
        counts[others.pop(0)] = most
        left -= most - base
    whole = sum(weights[frame] for frame in others)
    exact = {frame: Fraction(left * weights[frame], whole) for frame in others}
    for frame, part in exact.items():
        counts[frame] += int(part)
    remainders = sorted(exact, key=lambda frame: (-(exact[frame] % 1), frame))
    for frame in remainders[: total - sum(counts)]:
        counts[frame] += 1
    return counts


drawn_weights = st.lists(st.integers(1, 2**24), min_size=1, max_size=12).map(
    lambda weights: [*weights, 2**24]  # the largest, to which weights are relative
)


@given(drawn_weights, st.integers(0, 6), st.integers(1, 30), st.data())
def test_law_equals_the_plain_reference(weights, least, most, data):
    total = data.draw(st.integers(1, len(weights) * most))
    counts = largest_remainder(
        torch.tensor(weights, dtype=torch.float64), total, min_tokens=least, max_tokens=most
    ).tolist()
    assert counts == plain_largest_remainder(weights, total, least, most)
    assert sum(counts) == total
    assert max(counts) <= most


@given(
    st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=12).filter(any),
    st.integers(0, 6),
    st.integers(1, 30),
    st.data(),
)
def test_law_the_sum_is_exact_for_all_weights(weights, least, most, data):
    total = data.draw(st.integers(0, len(weights) * most))
    counts = largest_remainder(torch.tensor(weights), total, min_tokens=least, max_tokens=most).tolist()
    assert sum(counts) == total
    assert 0 <= min(counts) <= max(counts) <= most
    if least * len(weights) <= total and least <= most:
        assert min(counts) >= least


@pytest.mark.parametrize(
    ("weights", "total", "min_tokens", "max_tokens", "counts"),
    [
        ([1, 1, 1, 1], 10, 0, 9, [3, 3, 2, 2]),  # on ties, the first
        ([1, 2, 1], 8, 0, 9, [2, 4, 2]),
        ([1, 2, 1], 9, 0, 9, [2, 5, 2]),  # 2.25, 4.5, 2.25
        ([1, 2, 1], 11, 1, 9, [3, 5, 3]),  # 1 each, then as above
        ([1, 8, 1], 10, 0, 6, [2, 6, 2]),  # 8 exceed the limit
        ([1, 8, 7], 10, 0, 4, [2, 4, 4]),
        ([1, 3, 2, 3], 3, 1, 9, [0, 1, 1, 1]),  # the smallest weight gets none
        ([1, 3, 2, 3], 5, 2, 9, [0, 3, 0, 2]),  # two frames of 2, and one token more
        ([3, 1, 2], 15, 10, 10, [8, 0, 7]),  # one frame of 10 could not hold all
        ([3, 1, 2], 1, 4, 9, [1, 0, 0]),
        ([2, 1, 3], 4, 9, 5, [0, 0, 4]),  # the minimum exceeds the maximum
    ],
)
def test_cases_worked_by_hand(weights, total, min_tokens, max_tokens, counts):
    assert (
        largest_remainder(
            torch.tensor(weights, dtype=torch.float32), total, min_tokens=min_tokens, max_tokens=max_tokens
        ).tolist()
        == counts
    )


def test_very_many_frames_and_tokens_do_not_overflow():
    weights = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    for total in (1, 99_999, 20_000_000, 25_700_000):
        assert int(largest_remainder(weights, total, min_tokens=1, max_tokens=257).sum()) == total
