from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidzip.planner.accuracy import AccuracyTable
from vidzip.planner.budget import LIMITS
from vidzip.planner.search import SearchSpace, choose, choose_tokens, preference_key

PREFERENCES = ("balanced", "coverage", "detail")

accuracies = st.dictionaries(
    st.sampled_from([4, 10, 30]),
    st.dictionaries(st.sampled_from([2, 3, 8, 12]), st.sampled_from([0.1, 0.2, 0.5, 0.51, 0.9]), min_size=1),
    min_size=1,
).map(
    lambda rows: AccuracyTable.from_cells(
        "some", [{"tokens": t, "frames": f, "accuracy": a} for t, r in rows.items() for f, a in r.items()]
    )
)


@st.composite
def cost_functions(draw):
    """Costs that grow with frames and tokens, linearly or in steps."""
    frame, token, pair = (draw(st.floats(0, 1)) for _ in range(3))
    clip = draw(st.sampled_from([1, 4]))
    weights, each, feature = (draw(st.integers(0, 20)) for _ in range(3))

    def predict_costs(frames, tokens):
        encoded = frames + -frames % clip
        return encoded * frame + tokens * token + tokens**2 * pair / 20, weights + max(encoded * feature, tokens * each)

    return predict_costs


@st.composite
def spaces(draw):
    maybe = st.none() | st.floats(0.1, 40)
    return SearchSpace(
        video_frames=draw(st.integers(1, 20)),
        total_tokens=draw(st.integers(1, 40)),
        max_seconds=draw(maybe) or math.inf,
        max_memory_bytes=draw(maybe) or math.inf,
        min_tokens_per_frame=draw(st.integers(1, 3)),
        max_tokens_per_frame=draw(st.integers(3, 9)),
        predict_costs=draw(cost_functions()),
    )


def allowed(space):
    """Every plan within all limits."""
    return [
        (frames, tokens)
        for frames in range(1, int(space.video_frames) + 1)
        for tokens in range(
            frames * space.min_tokens_per_frame, int(min(space.total_tokens, frames * space.max_tokens_per_frame)) + 1
        )
        if space.allows(frames, tokens)
    ]


@given(spaces(), st.integers(1, 25), st.integers(0, 25), st.integers(1, 3))
def test_law_the_largest_allowed_number_is_found(space, low, high, each):
    plans = [count for count in range(low, high + 1) if space.allows(count, count * each)]
    # More never costs less: all numbers below an allowed one are allowed.
    expected = plans[-1] if plans else low - 1

    def plan(count):
        return count, count * each

    assert space.largest(low, high, plan) == expected
    for near in plans:
        assert space.largest(low, high, plan, near=near) == expected


@given(spaces(), st.integers(1, 20), st.none() | st.integers(1, 60))
def test_law_the_most_allowed_tokens_are_found(space, frames, at_most):
    at_most = at_most or math.inf
    plans = [tokens for count, tokens in allowed(space) if count == frames and tokens <= at_most]
    assert space.max_tokens(frames, at_most) == max(plans, default=0)


@settings(max_examples=400)
@given(spaces(), accuracies, st.sampled_from(PREFERENCES))
def test_oracle_no_allowed_plan_is_preferred_to_the_choice(space, accuracy, prefer):
    plans = allowed(space)
    choice = choose(space, prefer, accuracy)
    if not plans:
        assert choice is None
        return
    best = max(plans, key=lambda one: preference_key(prefer, accuracy, *one))
    assert (choice.frames, choice.tokens) == best


@settings(max_examples=300)
@given(spaces(), accuracies, st.sampled_from(PREFERENCES), st.sampled_from(LIMITS), st.floats(1, 3))
def test_law_raising_a_limit_never_makes_the_choice_worse(space, accuracy, prefer, limit, factor):
    before = choose(space, prefer, accuracy)
    field = {"tokens": "total_tokens", "latency": "max_seconds", "memory": "max_memory_bytes", "video": "video_frames"}[
        limit
    ]
    raised = getattr(space, field) * factor
    raised = math.floor(raised) if limit in {"tokens", "video"} else raised
    after = choose(replace(space, **{field: raised}), prefer, accuracy)
    if before is not None:
        ours, theirs = (preference_key(prefer, accuracy, one.frames, one.tokens) for one in (before, after))
        assert theirs >= ours


@settings(max_examples=300)
@given(spaces(), accuracies, st.sampled_from(PREFERENCES))
def test_law_removing_a_limit_that_does_not_bind_changes_nothing(space, accuracy, prefer):
    choice = choose(space, prefer, accuracy)
    if choice is None:
        return
    for limit in space.limits:
        if limit not in choice.binding_constraints:
            without = choose(space.without(limit), prefer, accuracy)
            assert (without.frames, without.tokens) == (choice.frames, choice.tokens), limit


@settings(max_examples=200)
@given(spaces(), accuracies, st.sampled_from(PREFERENCES))
def test_law_removing_all_binding_constraints_allows_a_better_plan(space, accuracy, prefer):
    choice = choose(space, prefer, accuracy)
    if choice is None:
        return
    assert set(choice.binding_constraints) <= set(space.limits)
    without = choose(space.without(*choice.binding_constraints), prefer, accuracy)
    ours, theirs = (preference_key(prefer, accuracy, one.frames, one.tokens) for one in (choice, without))
    assert theirs > ours if choice.binding_constraints else theirs == ours


@given(spaces(), st.integers(1, 20))
def test_law_given_frames_get_the_most_allowed_tokens(space, frames):
    plans = [tokens for count, tokens in allowed(space) if count == frames]
    choice = choose_tokens(space, frames)
    if not plans:
        assert choice is None
        return
    assert (choice.frames, choice.tokens) == (frames, max(plans))
    assert set(choice.binding_constraints) == set(
        space.exceeded(frames, choice.tokens + 1) if choice.tokens < frames * space.max_tokens_per_frame else ()
    )


def test_preferences_by_hand():
    accuracy = AccuracyTable.from_cells(
        "some", [{"tokens": 40, "frames": f, "accuracy": a} for f, a in ((2, 0.5), (10, 0.8), (20, 0.4))]
    )
    space = SearchSpace(video_frames=30, total_tokens=40, min_tokens_per_frame=2, max_tokens_per_frame=9)
    found = {prefer: choose(space, prefer, accuracy) for prefer in PREFERENCES}
    assert (found["coverage"].frames, found["coverage"].tokens) == (20, 40)
    assert (found["detail"].frames, found["detail"].tokens) == (8, 40)  # 5 tokens each
    assert (found["balanced"].frames, found["balanced"].tokens) == (10, 40)
    assert {choice.binding_constraints for choice in found.values()} == {("tokens",)}
    few = replace(space, video_frames=3)
    assert {(one.frames, one.tokens) for one in (choose(few, p, accuracy) for p in PREFERENCES)} == {(3, 27)}
    assert {choose(few, prefer, accuracy).binding_constraints for prefer in PREFERENCES} == {("video",)}


def test_detail_completes_frames_before_it_adds_more():
    space = SearchSpace(video_frames=100, total_tokens=1000, min_tokens_per_frame=1, max_tokens_per_frame=9)
    choice = choose(space, "detail", AccuracyTable.from_cells("some", [{"tokens": 1, "frames": 1, "accuracy": 1.0}]))
    assert (choice.frames, choice.tokens, choice.binding_constraints) == (100, 900, ("video",))


def test_two_limits_that_bind_together_are_both_reported():
    """Neither more time nor more memory alone allows a better plan."""
    space = SearchSpace(
        video_frames=10, total_tokens=100, max_seconds=5, max_memory_bytes=5, min_tokens_per_frame=1, max_tokens_per_frame=1,
        predict_costs=lambda frames, tokens: (frames, frames),
    )  # fmt: skip
    accuracy = AccuracyTable.from_cells("some", [{"tokens": 10, "frames": f, "accuracy": f / 10} for f in (1, 10)])
    for prefer in PREFERENCES:
        choice = choose(space, prefer, accuracy)
        assert (choice.frames, choice.binding_constraints) == (5, ("latency", "memory"))


@pytest.mark.parametrize("prefer", PREFERENCES)
def test_few_costs_are_predicted(prefer):
    """A plan takes less than a millisecond, and a predict_costs some microseconds."""
    asked = []

    def predict_costs(frames, tokens):
        asked.append((frames, tokens))
        return 0.05 * frames + 0.001 * tokens + 1e-7 * tokens**2, 1e6 * tokens

    rows = {34: 0.6, 136: 0.8, 544: 0.9}
    accuracy = AccuracyTable.from_cells("some", [
        {"tokens": t, "frames": f, "accuracy": a - abs(math.log(f / math.sqrt(4 * t))) / 8}
        for (t, a), f in itertools.product(rows.items(), (8, 17, 34, 68, 136)) if f <= t
    ])  # fmt: skip
    for limit in (0.3, 0.5, 1, 2, 4, 8):
        asked.clear()
        choose(
            SearchSpace(
                video_frames=90_000, total_tokens=544, max_seconds=limit, max_memory_bytes=1e9, min_tokens_per_frame=1, max_tokens_per_frame=257,
                predict_costs=predict_costs,
            ),
            prefer,
            accuracy,
        )  # fmt: skip
        assert len(asked) < 60
