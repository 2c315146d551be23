from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidzip.planner.accuracy import FILE, SCHEMA, Accuracy, measured


def cells(rows):
    """Cells of ``{tokens: {frames: accuracy}}``."""
    return [{"tokens": t, "frames": f, "accuracy": a} for t, row in rows.items() for f, a in row.items()]


def table(rows) -> Accuracy:
    return Accuracy.of("some", cells(rows))


def test_between_measured_counts_it_is_linear_in_both_logarithms():
    some = table({64: {8: 0.5, 32: 0.9}, 256: {8: 0.6, 32: 0.8}})
    # 32 frames at 64 tokens measured better than at 256: the two are averaged.
    assert some.shares[0] == pytest.approx((0.5, 0.85))
    assert some.shares[1] == pytest.approx((0.6, 0.85))
    assert some.at(8, 64) == 0.5
    assert some.at(16, 64) == pytest.approx((0.5 + 0.85) / 2)
    assert some.at(8, 128) == pytest.approx(0.55)
    assert some.at(16, 128) == pytest.approx((0.5 + 0.6 + 0.85 + 0.85) / 4)


def test_outside_it_is_that_of_the_nearest_count():
    some = table({64: {8: 0.5, 32: 0.9}, 256: {8: 0.6, 32: 0.95}})
    assert some.at(1, 1) == some.at(8, 64)
    assert some.at(1000, 10_000) == some.at(32, 256)
    assert [some.outside(frames) for frames in (5, 8, 20, 32, 40)] == [3, 0, 0, 0, 8]
    assert some.covers(8, 64)
    assert not some.covers(7, 64)
    assert not some.covers(8, 63)
    assert not some.covers(8, 257)


def test_a_total_that_was_measured_at_fewer_counts_is_filled_up_along_its_row():
    some = table({16: {4: 0.4, 16: 0.6}, 64: {4: 0.5, 8: 0.7, 64: 0.9}})
    assert some.frames == (4, 8, 16, 64)
    assert some.shares[0] == pytest.approx((0.4, 0.5, 0.6, 0.6))
    assert some.shares[1] == pytest.approx((0.5, 0.7, 0.7 + 0.2 / 3, 0.9))


def test_what_was_not_measured_does_not_change_what_was():
    # 4 frames were better than 64 at 16 tokens, which cannot hold 64: that says nothing of 64 frames at 64 tokens.
    some = table({16: {4: 0.8}, 64: {4: 0.85, 64: 0.6}})
    assert some.shares == ((0.8, 0.6), (0.85, 0.6))
    # Nor is more to be worse where the larger total was not measured.
    assert table({16: {4: 0.3, 8: 0.7}, 64: {4: 0.5}}).shares == ((0.3, 0.7), (0.5, 0.7))


shares = st.floats(0, 1)
tables = st.dictionaries(
    st.sampled_from([17, 34, 136, 544]),
    st.dictionaries(st.sampled_from([4, 8, 17, 68]), shares, min_size=1),
    min_size=1,
).map(table)


@given(tables, st.integers(1, 200), st.integers(1, 2000), st.integers(1, 2000))
def test_law_more_tokens_are_never_worse(some, frames, one, other):
    assert some.at(frames, min(one, other)) <= some.at(frames, max(one, other)) + 1e-12


@given(tables, st.integers(1, 200), st.integers(1, 200), st.integers(1, 2000))
def test_law_the_best_count_of_a_stretch_is_a_turning_point(some, one, other, tokens):
    first, last = sorted((one, other))
    best = max(some.at(frames, tokens) for frames in range(first, last + 1))
    assert max(some.at(frames, tokens) for frames in some.turning_points(first, last)) == pytest.approx(best, abs=1e-12)


@given(tables, st.integers(1, 200), st.integers(1, 2000))
def test_law_it_stays_between_the_least_and_the_greatest(some, frames, tokens):
    known = [value for row in some.shares for value in row]
    assert min(known) - 1e-12 <= some.at(frames, tokens) <= max(known) + 1e-12


def test_what_ships_says_where_it_comes_from():
    content = json.loads(FILE.read_text(encoding="utf-8"))
    assert content["schema"] == SCHEMA
    origin = measured().origin
    assert origin["run"]["set"] == "shapes"
    assert origin["run"]["model"] == "tiny"
    assert origin["run"]["questions"]["count"] > 1000
    for key in ("split", "seed", "commit", "date", "metric"):
        assert origin[key] not in ("", None)
    assert all(command.startswith("vidzip grid ") for command in origin["commands"])
    for cells_of_method in content["methods"].values():
        for cell in cells_of_method:
            assert cell["low"] <= cell["accuracy"] <= cell["high"]


def test_what_was_measured_at_136_tokens_is_given_back():
    content = json.loads(FILE.read_text(encoding="utf-8"))
    for method, cells_of_method in content["methods"].items():
        here = measured().of(method)
        assert here.method == method
        for cell in cells_of_method:
            if here.tokens == (136,):
                assert here.at(cell["frames"], 136) == cell["accuracy"]
            else:  # totals were averaged where more tokens measured worse
                assert here.at(cell["frames"], cell["tokens"]) == pytest.approx(cell["accuracy"], abs=0.02)


def test_a_method_without_accuracies_takes_those_of_visionzip():
    known = measured()
    assert known.of("coverage").method == "coverage"
    assert known.of("visionzip(merge=mean)").method == "visionzip(merge=mean)"
    assert known.of("coverage(pool=4)").method == "coverage"
    assert known.of("something").method == "visionzip"


def test_it_is_read_once():
    assert measured() is measured()
    assert math.isfinite(measured().of("visionzip").at(34, 136))
