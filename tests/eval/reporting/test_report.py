from __future__ import annotations

import pytest
from reports import answered, chapter, judged, run

from eval.reporting import make_chapters, score_run
from eval.reporting.scored_run import flatten_settings, leading_metric, package_versions
from eval.scoring import ScoringError

RIGHT, WRONG = [answered(f"v{n}-1") for n in range(4)], [answered(f"v{n}-1", "no") for n in range(4)]


def test_runs_are_grouped_by_set_in_the_given_order():
    runs = [
        run("a", RIGHT, {"set": "msvd"}), run("b", RIGHT), run("c", WRONG, {"set": "msvd"}), run("d", RIGHT, {"set": None}),
    ]  # fmt: skip
    chapters = make_chapters(map(score_run, runs))
    assert [(one.set_name, one.title, [each.name for each in one.runs]) for one in chapters] == [
        ("msvd", "MSVD-QA", ["a", "c"]),
        ("shapes", "shapes, the synthetic set that vidzip writes", ["b"]),
        ("a set without a name", "a set without a name", ["d"]),
    ]
    assert [bool(one.published) for one in chapters] == [True, False, False]


def test_a_difference_worked_by_hand():
    # Three of four right against one of four, one of which both have right: two flips to the better, none to the worse.
    better = run("b", [*RIGHT[:3], WRONG[3]])
    worse = run("a", [RIGHT[0], *WRONG[1:]])
    (found,) = chapter(worse, better).differences
    assert (found.run, found.baseline, found.metric) == ("b", "a", "exact match")
    assert found.compared.difference.value == pytest.approx(0.5)
    counts = found.compared.counts
    assert (counts.both, counts.only_first, counts.only_second, counts.neither) == (1, 2, 0, 1)
    assert found.compared.p_value == pytest.approx(0.5)


def test_runs_of_other_questions_are_not_compared():
    (found,) = chapter(run("a", RIGHT), run("b", RIGHT[:3])).differences
    assert found.compared is None
    assert found.refusal


def test_different_judges_are_not_compared_and_none_leads():
    first = score_run(run("a", RIGHT), judged("one", v0_1=True))
    second = score_run(run("b", RIGHT), judged("two", v0_1=True))
    assert leading_metric([first, second]) == "exact match"
    assert leading_metric([first, score_run(run("b", RIGHT))]) == "exact match"
    assert leading_metric([first, first]) == "judge accuracy"
    assert {found.metric for found in chapter(first, second).differences} == {"exact match"}
    assert {found.metric for found in chapter(first, first).differences} == {"judge accuracy", "exact match"}
    assert all(found.compared for found in chapter(first, second).differences)


def test_retention_worked_by_hand():
    # Uncompressed has 4 of 4 right, no video 1 of 4, the run 3 of 4: (3 - 1) / (4 - 1).
    ours, uncompressed, no_video = (score_run(run(name, rows)) for name, rows in (
        ("a", [*RIGHT[:3], WRONG[3]]), ("uncompressed", RIGHT), ("no-video", [RIGHT[0], *WRONG[1:]]),
    ))  # fmt: skip
    (found,) = make_chapters([ours, uncompressed], uncompressed=[uncompressed], no_video=[no_video])
    assert [one.value for one in found.retentions] == pytest.approx([2 / 3, 1])
    (alone,) = make_chapters([ours], uncompressed=[uncompressed])
    assert alone.retentions == ()
    with pytest.raises(ScoringError, match="both the uncompressed run of shapes"):
        make_chapters([ours], uncompressed=[uncompressed, uncompressed], no_video=[no_video])


def test_kinds_are_in_the_sets_own_order():
    questions = [answered(f"v-{kind}", kind=kind) for kind in ("place", "colour", "unheard of", "")]
    assert chapter(run("a", questions)).kinds == ("colour", "place", "", "unheard of")


def test_nested_settings_are_flattened():
    assert flatten_settings({"a": {"b": 1, "c": {"d": 2}}, "e": {}, "f": [1]}) == {
        "a.b": 1,
        "a.c.d": 2,
        "e": {},
        "f": [1],
    }


def test_package_versions_of_a_resumed_run():
    lines = [
        answered("v-1", trace={"versions": {"torch": "2.11"}}),
        answered("v-2", trace={"versions": {"torch": "2.13"}}),
    ]
    assert package_versions(run("a", [*lines, answered("v-3", trace={"versions": "nonsense"})])) == {
        "torch": "2.11 and 2.13"
    }
