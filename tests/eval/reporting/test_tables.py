from __future__ import annotations

import json
import re

import pytest
from reports import HOSTILE, answered, chapter, judged, plan, report, run

from eval.reporting import read_input_frames, score_run, to_json, to_markdown
from eval.reporting.formatting import safe_text
from eval.reporting.tables import tables_of

RIGHT, WRONG = [answered(f"v{n}-1", kind="count") for n in range(4)], [answered(f"v{n}-1", "no") for n in range(4)]


def table(one, caption):
    return next(each for each in tables_of(one) if caption in each.caption)


def test_both_denominators_bounds_and_counts_worked_by_hand():
    # Five were to be asked: two are right, one is wrong, one failed, one is not asked yet.
    questions = [answered("v1-1"), answered("v2-1"), answered("v3-1", "no"), answered("v4-1", None)]
    one = chapter(score_run(run("a", questions, num_questions=5), allow_unfinished=True))
    (row,) = table(one, "Exact match, %").rows
    assert row[0] == "a"
    assert row[1].startswith("66.7 [")
    assert row[2:] == ("40.0", "40.0", "5", "3", "2", "0")
    (row,) = table(one, "Runs").rows
    assert row[-4:] == ("5", "3", "1", "1")


def test_bounds_over_unjudged_answers_worked_by_hand():
    # One yes, one no, two unjudged: between 1 and 3 of 4.
    verdicts = judged(v0_1=True, v1_1=False, v2_1="RateLimited: no reply", v3_1="RateLimited: no reply")
    one = chapter(score_run(run("a", RIGHT), verdicts))
    (row,) = table(one, "Judge accuracy, %").rows
    assert row[3:] == ("25.0 to 75.0", "4", "2", "0", "2")
    (row,) = table(one, "Judge score, 0 to 5").rows
    assert row[1].startswith("2.50 [")
    assert table(one, "by reason").rows == (("RateLimited", "unjudged", "2"),)
    assert table(one, "Runs").rows[0][-4:] == ("4", "4", "0", "0")
    assert "judge's model judge-1" in table(one, "Runs").notes[0]


def test_settings_that_are_the_same_in_all_runs_have_no_column():
    runs = [run("a", RIGHT, {"frames": 8, "seed": 1, "decoder": None}), run("b", WRONG, {"frames": 34, "seed": 2})]
    shown_table = table(chapter(*runs), "Runs")
    assert shown_table.columns[:6] == ("run", "model", "frames", "budget", "method", "seed")
    assert [row[1:6] for row in shown_table.rows] == [
        ("tiny", "8", "136", "visionzip", "1"), ("tiny", "34", "136", "visionzip", "2"),
    ]  # fmt: skip
    assert shown_table.notes == ()
    (note,) = table(chapter(run("a", RIGHT, {"seed": 1})), "Runs").notes
    assert note == "Same in all runs: seed 1."


def test_kinds_failures_and_differences():
    failed = [answered("v9-1", None, kind="place"), *RIGHT]
    one = chapter(run("a", failed), run("b", [answered("v9-1", kind="place"), *RIGHT]), run("c", RIGHT))
    rows = table(one, "by kind").rows
    assert [row[:2] for row in rows] == [("count", "4"), ("place", "1")]
    assert rows[1][2:] == ("-", "100.0", "-")
    assert table(one, "by reason").rows == (("VideoMissing", "failed", "1", "0", "0"),)
    rows = {row[0]: row for row in table(one, "Difference to a").rows}
    assert rows["b"][3:] == ("0", "0", "1.000", "4", "4", "1")
    assert rows["c"][2].startswith("refused: ")


def test_published_results_have_their_questions():
    one = table(chapter(run("a", RIGHT, {"set": "tgif-action"})), "Published accuracies")
    assert len({len(row) for row in (*one.rows, one.columns, one.align)}) == 1
    row = next(row for row in one.rows if row[0] == "FasterVLM at 104")
    assert row[1:4] == ("104", "14.0", "first 1,000 of Video-LLaVA's mixture, all of them Action")
    assert not any("Published" in each.caption for each in tables_of(chapter(run("a", RIGHT))))


def hostile_chapter(name):
    text = HOSTILE[name]
    lines = [
        answered("v0-1", text, kind=text, question=text, answer=text, trace=plan(4, 4) | {"versions": {text: text}}),
        answered("v1-1" + text, text, video=text),
        answered("v2-1", None, failure=f"{text}: {text}"),
    ]
    one = chapter(run(text[:300], lines, {"model": text, text: text, "set": text[:300]}), examples=5)
    return chapter(*one.runs, examples=5, input_frames={(0, "v0-1"): read_input_frames(lines[0].trace)})


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_text_stays_in_its_cell_of_markdown(name):
    text = to_markdown(report(hostile_chapter(name), title=HOSTILE[name]))
    text.encode()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028]", text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[<>`]", text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows]
    heads = [place for place, row in enumerate(rows) if re.fullmatch(r"[| :-]+", row) and "---" in row]
    assert heads
    for place in heads:
        assert widths[place - 1] == widths[place] == widths[place + 1]
    assert len(text) < 100_000


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_text_is_strict_json(name):
    text = to_json(report(hostile_chapter(name), title=HOSTILE[name]))
    assert text.isascii()
    found = json.loads(text, parse_constant=pytest.fail)
    example = next(one for one in found["sets"][0]["examples"] if one["question_id"] == "v0-1")
    assert example["question"] == safe_text(HOSTILE[name])
    assert len(text) < 200_000


def test_json_holds_every_number_and_no_nan():
    one = chapter(
        run("a", RIGHT, {"odd": float("nan"), "odder": [float("inf"), {"deep": float("-inf")}], "other": b"x"})
    )
    found = json.loads(to_json(report(one)), parse_constant=pytest.fail)
    assert found["schema"] == "vidzip/report/1"
    (data,) = found["sets"][0]["runs"]
    assert data["settings"]["odd"] is None
    assert data["settings"]["odder"] == [None, {"deep": None}]
    measured = one.runs[0].find("exact match")
    assert data["scores"][0]["published"]["low"] == measured.published.low
    assert (data["num_questions"], data["num_results"], data["failures"]) == (4, 4, {})
