from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.shapes.random_stream import RandomStream


def test_the_stream_is_the_same_everywhere():
    rng = RandomStream(1, 2, 7, 0)
    assert [rng.uniform() for _ in range(3)] == [0.004921068435600362, 0.41463571571668467, 0.8171517543256545]
    assert [rng.below(100) for _ in range(5)] == [98, 34, 77, 81, 4]
    assert [rng.between(-3, 3) for _ in range(6)] == [1, -2, 0, 2, -3, -2]
    assert rng.sample("abcdef", 3) == ["b", "c", "d"]
    assert rng.choice("xyz") == "y"
    assert rng.bytes(2, 5).tolist() == [[36, 35, 226, 133, 58], [125, 105, 198, 27, 225]]
    numbers = list(range(8))
    rng.shuffle(numbers)
    assert numbers == [6, 7, 1, 3, 2, 0, 5, 4]
    assert rng.uniform(2, 4) == 3.7320143810285553


@pytest.mark.parametrize("other", [(1, 2, 7, 1), (1, 2, 8, 0), (1, 3, 7, 0), (2, 2, 7, 0), (1, 2, 7, 0, 1)])
def test_other_numbers_give_another_stream(other):
    ours, theirs = RandomStream(1, 2, 7, 0), RandomStream(*other)
    assert [ours.uniform() for _ in range(4)] != [theirs.uniform() for _ in range(4)]


@given(seed=st.integers(0, 2**80), low=st.integers(-50, 50), span=st.integers(0, 50))
def test_numbers_stay_within_their_bounds(seed, low, span):
    rng = RandomStream(seed)
    assert all(low <= rng.between(low, low + span) <= low + span for _ in range(20))
    assert all(low <= rng.uniform(low, low + 1) < low + 1 for _ in range(20))
    assert sorted(rng.sample(range(span), span)) == list(range(span))


def test_every_value_comes_up():
    rng = RandomStream(0)
    assert {rng.between(1, 6) for _ in range(200)} == {1, 2, 3, 4, 5, 6}
