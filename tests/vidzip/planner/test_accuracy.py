from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidzip.planner.accuracy import FILE, SCHEMA, AccuracyTable, measured_accuracy


def cells(rows):
    """Cells of ``{tokens: {frames: accuracy}}``."""
    return [{"tokens": t, "frames": f, "accuracy": a} for t, row in rows.items() for f, a in row.items()]


def table(rows) -> AccuracyTable:
    return AccuracyTable.from_cells("some", cells(rows))


def test_between_measured_counts_accuracy_is_linear_in_both_logarithms():
    some = table({64: {8: 0.5, 32: 0.9}, 256: {8: 0.6, 32: 0.8}})
    # 32 frames at 64 tokens measured better than at 256: the two are averaged.
    assert some.values[0] == pytest.approx((0.5, 0.85))
    assert some.values[1] == pytest.approx((0.6, 0.85))
    assert some.at(8, 64) == 0.5
    assert some.at(16, 64) == pytest.approx((0.5 + 0.85) / 2)
    assert some.at(8, 128) == pytest.approx(0.55)
    assert some.at(16, 128) == pytest.approx((0.5 + 0.6 + 0.85 + 0.85) / 4)


def test_outside_of_measured_counts_the_nearest_one_is_used():
    some = table({64: {8: 0.5, 32: 0.9}, 256: {8: 0.6, 32: 0.95}})
    assert some.at(1, 1) == some.at(8, 64)
    assert some.at(1000, 10_000) == some.at(32, 256)
    assert [some.frames_outside(frames) for frames in (5, 8, 20, 32, 40)] == [3, 0, 0, 0, 8]
    assert some.covers(8, 64)
    assert not some.covers(7, 64)
    assert not some.covers(8, 63)
    assert not some.covers(8, 257)


def test_missing_cells_are_interpolated_within_their_total():
    some = table({16: {4: 0.4, 16: 0.6}, 64: {4: 0.5, 8: 0.7, 64: 0.9}})
    assert some.frames == (4, 8, 16, 64)
    assert some.values[0] == pytest.approx((0.4, 0.5, 0.6, 0.6))
    assert some.values[1] == pytest.approx((0.5, 0.7, 0.7 + 0.2 / 3, 0.9))


def test_missing_cells_do_not_change_measured_ones():
    # 16 tokens cannot hold 64 frames: the value there does not raise that of 64 frames at 64 tokens.
    some = table({16: {4: 0.8}, 64: {4: 0.85, 64: 0.6}})
    assert some.values == ((0.8, 0.6), (0.85, 0.6))
    # More tokens are never worse, also if the larger total was not measured.
    assert table({16: {4: 0.3, 8: 0.7}, 64: {4: 0.5}}).values == ((0.3, 0.7), (0.5, 0.7))


values = st.floats(0, 1)
tables = st.dictionaries(
    st.sampled_from([17, 34, 136, 544]),
    st.dictionaries(st.sampled_from([4, 8, 17, 68]), values, min_size=1),
    min_size=1,
).map(table)


@given(tables, st.integers(1, 200), st.integers(1, 2000), st.integers(1, 2000))
def test_law_more_tokens_are_never_worse(some, frames, one, other):
    assert some.at(frames, min(one, other)) <= some.at(frames, max(one, other)) + 1e-12


@given(tables, st.integers(1, 200), st.integers(1, 200), st.integers(1, 2000))
def test_law_the_best_count_of_a_range_is_a_breakpoint(some, one, other, tokens):
    first, last = sorted((one, other))
    best = max(some.at(frames, tokens) for frames in range(first, last + 1))
    assert max(some.at(frames, tokens) for frames in some.breakpoints(first, last)) == pytest.approx(best, abs=1e-12)


@given(tables, st.integers(1, 200), st.integers(1, 2000))
def test_law_interpolation_stays_between_minimum_and_maximum(some, frames, tokens):
    known = [value for row in some.values for value in row]
    assert min(known) - 1e-12 <= some.at(frames, tokens) <= max(known) + 1e-12


def test_the_file_names_its_origin():
    content = json.loads(FILE.read_text(encoding="utf-8"))
    assert content["schema"] == SCHEMA
    origin = measured_accuracy().origin
    assert origin["run"]["set"] == "shapes"
    assert origin["run"]["model"] == "tiny"
    assert origin["run"]["questions"]["count"] > 1000
    for key in ("split", "seed", "commit", "date", "metric"):
        assert origin[key] not in ("", None)
    assert all(command.startswith("vidzip grid ") for command in origin["commands"])
    for cells_of_method in content["methods"].values():
        for cell in cells_of_method:
            assert cell["low"] <= cell["accuracy"] <= cell["high"]


def test_measured_cells_are_reproduced():
    content = json.loads(FILE.read_text(encoding="utf-8"))
    for method, cells_of_method in content["methods"].items():
        here = measured_accuracy().table(method)
        assert here.method == method
        for cell in cells_of_method:
            if here.tokens == (136,):
                assert here.at(cell["frames"], 136) == cell["accuracy"]
            else:  # totals were averaged where more tokens measured worse
                assert here.at(cell["frames"], cell["tokens"]) == pytest.approx(cell["accuracy"], abs=0.02)


def test_a_method_that_was_not_measured_uses_visionzips_table():
    known = measured_accuracy()
    assert known.table("coverage").method == "coverage"
    assert known.table("visionzip(merge=mean)").method == "visionzip(merge=mean)"
    assert known.table("coverage(pool=4)").method == "coverage"
    assert known.table("something").method == "visionzip"


def test_the_file_is_read_once():
    assert measured_accuracy() is measured_accuracy()
    assert math.isfinite(measured_accuracy().table("visionzip").at(34, 136))
