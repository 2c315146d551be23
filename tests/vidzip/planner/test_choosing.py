from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidzip.planner.accuracy import Accuracy
from vidzip.planner.choosing import CAPS, Space, choose, choose_tokens, worth

PREFERENCES = ("balanced", "coverage", "detail")

accuracies = st.dictionaries(
    st.sampled_from([4, 10, 30]),
    st.dictionaries(st.sampled_from([2, 3, 8, 12]), st.sampled_from([0.1, 0.2, 0.5, 0.51, 0.9]), min_size=1),
    min_size=1,
).map(
    lambda rows: Accuracy.of(
        "some", [{"tokens": t, "frames": f, "accuracy": a} for t, r in rows.items() for f, a in r.items()]
    )
)


@st.composite
def prices(draw):
    """Costs that grow with frames and tokens, evenly or by leaps, and hold both together or not."""
    frame, token, pair = (draw(st.floats(0, 1)) for _ in range(3))
    clip = draw(st.sampled_from([1, 4]))
    weights, each, feature = (draw(st.integers(0, 20)) for _ in range(3))

    def price(frames, tokens):
        encoded = frames + -frames % clip
        return encoded * frame + tokens * token + tokens**2 * pair / 20, weights + max(encoded * feature, tokens * each)

    return price


@st.composite
def spaces(draw):
    maybe = st.none() | st.floats(0.1, 40)
    return Space(
        most_frames=draw(st.integers(1, 20)),
        total_tokens=draw(st.integers(1, 40)),
        seconds=draw(maybe) or math.inf,
        memory_bytes=draw(maybe) or math.inf,
        min_tokens=draw(st.integers(1, 3)),
        whole_tokens=draw(st.integers(3, 9)),
        price=draw(prices()),
    )


def allowed(space):
    """Every plan that keeps to the caps."""
    return [
        (frames, tokens)
        for frames in range(1, int(space.most_frames) + 1)
        for tokens in range(frames * space.min_tokens, int(min(space.total_tokens, frames * space.whole_tokens)) + 1)
        if space.fits(frames, tokens)
    ]


@given(spaces(), st.integers(1, 25), st.integers(0, 25), st.integers(1, 3))
def test_law_the_largest_number_that_fits_is_found(space, low, high, each):
    there = [count for count in range(low, high + 1) if space.fits(count, count * each)]
    # More never costs less: where a larger one fits, so do smaller ones.
    expected = there[-1] if there else low - 1

    def plan(count):
        return count, count * each

    assert space.largest(low, high, plan) == expected
    for near in there:
        assert space.largest(low, high, plan, near=near) == expected


@given(spaces(), st.integers(1, 20), st.none() | st.integers(1, 60))
def test_law_the_most_tokens_are_found(space, frames, ceiling):
    ceiling = ceiling or math.inf
    there = [tokens for count, tokens in allowed(space) if count == frames and tokens <= ceiling]
    assert space.most_tokens(frames, ceiling) == max(there, default=0)


@settings(max_examples=400)
@given(spaces(), accuracies, st.sampled_from(PREFERENCES))
def test_oracle_of_all_plans_that_are_allowed_none_is_worth_more(space, accuracy, prefer):
    there = allowed(space)
    choice = choose(space, prefer, accuracy)
    if not there:
        assert choice is None
        return
    best = max(there, key=lambda one: worth(prefer, accuracy, *one))
    assert (choice.frames, choice.tokens) == best


@settings(max_examples=300)
@given(spaces(), accuracies, st.sampled_from(PREFERENCES), st.sampled_from(CAPS), st.floats(1, 3))
def test_law_raising_a_cap_never_lowers_what_is_preferred(space, accuracy, prefer, cap, factor):
    before = choose(space, prefer, accuracy)
    field = {"tokens": "total_tokens", "latency": "seconds", "memory": "memory_bytes", "video": "most_frames"}[cap]
    raised = getattr(space, field) * factor
    raised = math.floor(raised) if cap in {"tokens", "video"} else raised
    after = choose(replace(space, **{field: raised}), prefer, accuracy)
    if before is not None:
        ours, theirs = (worth(prefer, accuracy, one.frames, one.tokens) for one in (before, after))
        assert theirs >= ours


@settings(max_examples=300)
@given(spaces(), accuracies, st.sampled_from(PREFERENCES))
def test_law_lifting_a_cap_that_does_not_bind_changes_nothing(space, accuracy, prefer):
    choice = choose(space, prefer, accuracy)
    if choice is None:
        return
    for cap in space.caps:
        if cap not in choice.binds:
            lifted = choose(space.without(cap), prefer, accuracy)
            assert (lifted.frames, lifted.tokens) == (choice.frames, choice.tokens), cap


@settings(max_examples=200)
@given(spaces(), accuracies, st.sampled_from(PREFERENCES))
def test_law_lifting_all_that_binds_lets_a_better_plan_in(space, accuracy, prefer):
    choice = choose(space, prefer, accuracy)
    if choice is None:
        return
    assert set(choice.binds) <= set(space.caps)
    lifted = choose(space.without(*choice.binds), prefer, accuracy)
    ours, theirs = (worth(prefer, accuracy, one.frames, one.tokens) for one in (choice, lifted))
    assert theirs > ours if choice.binds else theirs == ours


@given(spaces(), st.integers(1, 20))
def test_law_with_frames_that_are_given_tokens_are_the_most(space, frames):
    there = [tokens for count, tokens in allowed(space) if count == frames]
    choice = choose_tokens(space, frames)
    if not there:
        assert choice is None
        return
    assert (choice.frames, choice.tokens) == (frames, max(there))
    assert set(choice.binds) == set(
        space.breaks(frames, choice.tokens + 1) if choice.tokens < frames * space.whole_tokens else ()
    )


def test_preferences_by_hand():
    accuracy = Accuracy.of(
        "some", [{"tokens": 40, "frames": f, "accuracy": a} for f, a in ((2, 0.5), (10, 0.8), (20, 0.4))]
    )
    space = Space(most_frames=30, total_tokens=40, min_tokens=2, whole_tokens=9)
    found = {prefer: choose(space, prefer, accuracy) for prefer in PREFERENCES}
    assert (found["coverage"].frames, found["coverage"].tokens) == (20, 40)
    assert (found["detail"].frames, found["detail"].tokens) == (8, 40)  # 5 tokens each
    assert (found["balanced"].frames, found["balanced"].tokens) == (10, 40)
    assert {choice.binds for choice in found.values()} == {("tokens",)}
    few = replace(space, most_frames=3)
    assert {(one.frames, one.tokens) for one in (choose(few, p, accuracy) for p in PREFERENCES)} == {(3, 27)}
    assert {choose(few, prefer, accuracy).binds for prefer in PREFERENCES} == {("video",)}


def test_detail_takes_whole_frames_before_it_takes_more_of_them():
    space = Space(most_frames=100, total_tokens=1000, min_tokens=1, whole_tokens=9)
    choice = choose(space, "detail", Accuracy.of("some", [{"tokens": 1, "frames": 1, "accuracy": 1.0}]))
    assert (choice.frames, choice.tokens, choice.binds) == (100, 900, ("video",))


def test_two_caps_that_stand_together_are_both_named():
    """Neither more time nor more memory alone would do."""
    space = Space(
        most_frames=10, total_tokens=100, seconds=5, memory_bytes=5, min_tokens=1, whole_tokens=1,
        price=lambda frames, tokens: (frames, frames),
    )  # fmt: skip
    accuracy = Accuracy.of("some", [{"tokens": 10, "frames": f, "accuracy": f / 10} for f in (1, 10)])
    for prefer in PREFERENCES:
        choice = choose(space, prefer, accuracy)
        assert (choice.frames, choice.binds) == (5, ("latency", "memory"))


@pytest.mark.parametrize("prefer", PREFERENCES)
def test_few_plans_are_priced(prefer):
    """A plan takes less than a millisecond, and a price some microseconds."""
    asked = []

    def price(frames, tokens):
        asked.append((frames, tokens))
        return 0.05 * frames + 0.001 * tokens + 1e-7 * tokens**2, 1e6 * tokens

    rows = {34: 0.6, 136: 0.8, 544: 0.9}
    accuracy = Accuracy.of("some", [
        {"tokens": t, "frames": f, "accuracy": a - abs(math.log(f / math.sqrt(4 * t))) / 8}
        for (t, a), f in itertools.product(rows.items(), (8, 17, 34, 68, 136)) if f <= t
    ])  # fmt: skip
    for cap in (0.3, 0.5, 1, 2, 4, 8):
        asked.clear()
        choose(
            Space(
                most_frames=90_000, total_tokens=544, seconds=cap, memory_bytes=1e9, min_tokens=1, whole_tokens=257,
                price=price,
            ),
            prefer,
            accuracy,
        )  # fmt: skip
        assert len(asked) < 60
