from __future__ import annotations

import json
import re
import time

import pytest

from eval.judging import Judge, Reply, open_replies
from eval.scoring import RANGES
from pipelines.cli import main
from pipelines.commands.compare import METRICS
from pipelines.runs.run_log import open_run_log

HOSTILE = "\x1b[31mred\x1b]0;owned\x07 <script>alert(1)</script> =cmd|'/c calc'!A0 \u202e [x](javascript:y) \r\n| a |"


def make(folder, predictions, *, answer="red", count=None, **parts):
    """Write a run with the run log; a prediction of None is a failure."""
    rows = []
    for place, (key, prediction) in enumerate(predictions.items()):
        row = {
            "id": key,
            "video": f"v{place // 2}",
            "kind": "what" if place % 2 else "who",
            "question": "which colour?",
            "answer": answer,
            "prediction": prediction,
            "failure": None if prediction is not None else {"kind": "Crashed", "reason": "it ended"},
        }
        rows.append({**row, **parts})
    run = {"set": "msvd", "model": "tiny", "questions": {"count": count or len(rows)}, "shard": None}
    with open_run_log(str(folder), run) as log:
        log.add(rows)
    return str(folder)


def keep_replies(folder, texts, model="judge-1", answer="red"):
    """Keep a judge's replies in a run's folder: prediction to reply."""
    judge = Judge(model=model)
    with open_replies(f"{folder}/judge.jsonl") as replies:
        for prediction, text in texts.items():
            reply = Reply(text=text, model=model, finish="stop", at="2026-01-01T00:00:00Z")
            replies.add(judge, "which colour?", answer, prediction, reply)
    return judge.fingerprint


YES, NO, ODD = "{'pred': 'yes', 'score': 5}", '{"pred": "no", "score": 1}', "{'pred': 'yes', 'score': 0}"


def test_every_metric_can_be_named():
    assert tuple(metric.replace(" ", "-") for metric in RANGES) == METRICS


@pytest.fixture
def folder(tmp_path):
    predictions = {"q0": "red", "q1": "a red one", "q2": "blue", "q3": "crimson", "q4": "green", "q5": None}
    return make(tmp_path / "mine", predictions)


def printed(capsys):
    out, err = capsys.readouterr()
    return out, err


def scores(folder):
    with open(f"{folder}/scores.json", encoding="utf-8") as file:
        return json.load(file)


def score_of(record, metric, group="all"):
    return next(one for one in record["scores"] if (one["metric"], one["group"]) == (metric, group))


def test_a_run_is_scored_without_a_judge(folder, capsys):
    assert main(["score", folder]) == 0
    out, err = printed(capsys)
    assert err == ""
    assert out.splitlines()[0] == "mine: set msvd, model tiny"
    assert out.splitlines()[1].split("  ")[0] == "metric"
    assert "20.0 [" in out
    assert "failed: Crashed  1" in out
    record = scores(folder)
    assert record["schema"] == "vidzip/scores/1"
    exact, contained = score_of(record, "exact match"), score_of(record, "answer contained")
    assert (exact["published"]["value"], exact["strict"]["value"]) == pytest.approx((1 / 5, 1 / 6))
    assert contained["published"]["value"] == pytest.approx(2 / 5)
    assert exact["published"]["standard_error"] > 0
    assert record["judge"] is None


def test_a_run_is_scored_from_kept_replies(folder, capsys):
    fingerprint = keep_replies(
        folder, {"red": YES, "a red one": ODD, "blue": NO, "crimson": YES, "green": "I think so"}
    )
    assert main(["score", folder, "--judge-replay", f"{folder}/judge.jsonl"]) == 0
    out, _ = printed(capsys)
    assert f"judge judge-1 ({fingerprint})" in out
    assert "unjudged: " in out
    assert "judge: verdict contradicts rating" in out
    record = scores(folder)
    accuracy, score = score_of(record, "judge accuracy"), score_of(record, "judge score")
    assert (accuracy["published"]["value"], accuracy["strict"]["value"]) == pytest.approx((3 / 4, 3 / 6))
    assert (accuracy["bound_low"], accuracy["bound_high"]) == pytest.approx((3 / 6, 4 / 6))
    assert score["published"]["value"] == pytest.approx(11 / 4)
    assert record["contradictions"] == 1
    assert sum(record["unjudged"].values()) == 1


def test_json_and_markdown(folder, capsys):
    assert main(["score", folder, "--json"]) == 0
    out, _ = printed(capsys)
    assert json.loads(out) == scores(folder)
    assert main(["score", folder, "--markdown", "--intervals", "bootstrap"]) == 0
    out, _ = printed(capsys)
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert rows[0].startswith("| metric | questions | of scored | s.e. | of all |")
    assert {line.count("|") for line in rows if "exact match" in line} == {rows[0].count("|")}
    assert scores(folder)["intervals"] == "bootstrap"


def test_several_runs_and_retention(tmp_path, capsys):
    texts = [["red"] * 6 + ["blue"] * 6, ["red"] * 9 + ["blue"] * 3, ["blue"] * 9 + ["red"] * 3]
    runs = [
        make(tmp_path / name, {f"q{place}": text for place, text in enumerate(one)})
        for name, one in zip(("zip", "uncompressed", "no-video"), texts, strict=True)
    ]
    assert main(["score", runs[0], runs[1], "--uncompressed", runs[1], "--no-video", runs[2]]) == 0
    out, _ = printed(capsys)
    assert out.count("retention") == 2
    assert "zip: set msvd" in out
    kept = scores(runs[0])["retention"]
    assert (kept["uncompressed"], kept["no_video"]) == ("uncompressed", "no-video")
    assert kept["metrics"]["exact match"]["value"] == pytest.approx((6 - 3) / (9 - 3))
    assert scores(runs[1])["retention"]["metrics"]["exact match"]["value"] == 1


def test_an_unfinished_run_is_refused_unless_allowed(tmp_path, capsys):
    part = make(tmp_path / "part", {"q0": "red", "q1": "red"}, count=4)
    assert main(["score", part]) == 2
    assert "'part' is not finished: 2 of 4 " in printed(capsys)[1]
    assert main(["score", part, "--unfinished"]) == 0
    out, err = printed(capsys)
    assert "failed: not asked yet  2" in out
    assert "warning: part: " in err
    assert score_of(scores(part), "exact match")["strict"]["value"] == 0.5


def test_two_runs_are_compared(tmp_path, folder, capsys):
    other = make(
        tmp_path / "other", {"q5": "red", "q4": "green", "q3": "red", "q2": "red", "q1": "red", "q0": "blue"}, video="v"
    )
    assert main(["compare", folder, other]) == 2
    assert "the video of 'q0' is 'v0' in one of them, and 'v' in the other" in printed(capsys)[1]
    other = make(tmp_path / "third", {"q0": "blue", "q1": "red", "q2": "red", "q3": "red", "q4": "green", "q5": "red"})
    assert main(["compare", folder, other, "--show", "1"]) == 0
    out, err = printed(capsys)
    assert out.splitlines()[:3] == ["A: mine", "B: third", "exact match, A minus B"]
    assert "warning: 1 questions without a score" in err
    assert "4 questions flipped, such as\n  q0 (v0)\n" in out
    assert "A, 1: red\n    B, 0: blue\n" in out
    assert "q1" not in out
    assert main(["compare", folder, other, "--strict", "--json"]) == 0
    record = json.loads(printed(capsys)[0])
    assert record["groups"][0]["counts"] == {"both": 0, "only_first": 1, "only_second": 4, "neither": 1}
    assert record["groups"][0]["p_value"] == pytest.approx(2 * (1 + 5) / 32)
    assert [flip["question_id"] for flip in record["flips"]] == ["q0", "q1", "q2", "q3", "q5"]


def test_runs_of_different_questions_are_compared_on_request(tmp_path, folder, capsys):
    other = make(tmp_path / "other", {"q0": "red", "q1": "red", "x": "red"})
    assert main(["compare", folder, other]) == 2
    assert "the runs have different questions: 4 " in printed(capsys)[1]
    assert main(["compare", folder, other, "--intersection"]) == 0
    assert "left out: 4 questions only in A, 1 only in B" in printed(capsys)[1]


def test_judged_runs_are_compared_with_kept_replies(tmp_path, folder, capsys):
    other = make(tmp_path / "other", {f"q{place}": "red" for place in range(6)})
    keep_replies(folder, {"red": YES, "a red one": ODD, "blue": NO, "crimson": YES, "green": NO})
    keep_replies(other, {"red": YES})
    assert main(["compare", folder, other, "--metric", "judge-accuracy"]) == 0
    assert "judge accuracy, A minus B" in printed(capsys)[0]
    assert main(["compare", folder, other, "--metric", "judge-score", "--json"]) == 0
    record = json.loads(printed(capsys)[0])
    assert record["groups"][0]["difference"]["value"] == pytest.approx((5 + 0 + 1 + 5 + 1) / 5 - 5)
    keep_replies(other, {"red": YES}, model="judge-2")
    assert main(["compare", folder, other, "--metric", "judge-accuracy"]) == 2
    assert "judge-2" in printed(capsys)[1]
    assert main(["compare", folder, other, "--metric", "judge-accuracy", "--judge", "judge-1"]) == 0
    capsys.readouterr()
    third = make(tmp_path / "third", {f"q{place}": "red" for place in range(6)})
    keep_replies(third, {"red": YES}, model="judge-2")
    assert main(["compare", folder, third, "--metric", "judge-accuracy"]) == 2
    assert "judges" in printed(capsys)[1]


def test_agreement_of_judges(folder, capsys):
    first = keep_replies(folder, {"red": YES, "a red one": YES, "blue": NO, "crimson": YES, "green": NO})
    keep_replies(folder, {"red": YES, "a red one": NO, "blue": NO, "crimson": YES, "green": "?"}, model="judge-2")
    assert main(["agree", folder, "--judges", first, "judge-2"]) == 0
    out, _ = printed(capsys)
    assert "1 disagreements, such as\n  q1 (v0)\n" in out
    assert "agreement          75.0 [" in out
    assert "verdict of A only  1" in out
    assert main(["agree", folder, "--judges", "exact-match", "judge-1", "--json"]) == 0
    record = json.loads(printed(capsys)[0])
    assert record["counts"] == {"both": 1, "only_first": 0, "only_second": 2, "neither": 2}
    assert [one["question_id"] for one in record["disagreements"]] == ["q1", "q3"]
    # po = 3/5, pe = 1/5 * 3/5 + 4/5 * 2/5 = 11/25
    assert record["kappa"]["value"] == pytest.approx((15 - 11) / (25 - 11))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["score", "RUN", "--uncompressed", "RUN"], "--no-video"),
        (["score", "RUN", "--json", "--markdown"], "--markdown"),
        (["score", "/nowhere"], "/nowhere"),
        (["score", "RUN", "--judge-replay", "/nowhere"], "kept replies"),
        (["compare", "RUN", "RUN", "--judge", "m"], "--metric exact-match"),
        (["compare", "RUN", "RUN", "--metric", "judge-score"], "kept replies"),
        (["compare", "RUN"], "Missing argument 'RUN_B'"),
        (["agree", "RUN", "--judges", "m", "m"], "'m'"),
        (["agree", "RUN", "--judges", "exact-match", "m"], "kept replies"),
        (["agree", "RUN"], "Missing option '--judges'"),
    ],
)
def test_bad_input_is_refused(folder, capsys, command, message):
    assert main([folder if word == "RUN" else word for word in command]) == 2
    out, err = printed(capsys)
    assert out == ""
    assert message in err
    assert "hint: " in err


def hostile(tmp_path, text):
    """Two judged runs in which every text is this one."""
    judge = Judge(model="m")
    for name, prediction in (("a", text), ("b", "no")):
        predictions = {"q0": prediction, "q1": "red", text: prediction}
        folder = make(tmp_path / name, predictions, answer=text, video=text, kind=text, question=text)
        with open_replies(f"{folder}/judge.jsonl") as replies:
            for given, verdict in ((prediction, YES), ("red", text)):
                kept = Reply(text=verdict, model="m", finish="stop", at="2026-01-01T00:00:00Z")
                replies.add(judge, text, text, given, kept)
        yield folder


@pytest.mark.parametrize("text", [HOSTILE, HOSTILE + "x" * 1_000_000], ids=["short", "1 MB"])
@pytest.mark.parametrize(
    "command",
    [
        "score {0} --judge-replay {0}/judge.jsonl",
        "score {0} --markdown",
        "score {0} --json",
        "compare {0} {1}",
        "compare {0} {1} --metric judge-score",
        "agree {1} --judges exact-match m",
    ],
)
def test_hostile_text_does_nothing_to_the_terminal(tmp_path, capsys, text, command):
    runs = list(hostile(tmp_path, text))
    assert main([word.format(*runs) for word in command.split()]) == 0
    out, err = printed(capsys)
    assert all(char.isprintable() or char == "\n" for char in out + err)
    assert "--json" in command or len(out) + len(err) < 4_000


def test_hostile_text_stays_text_in_markdown(tmp_path, capsys):
    first, _ = hostile(tmp_path, "| a | <script> [x](javascript:y) `")
    assert main(["score", first, "--markdown"]) == 0
    table = printed(capsys)[0]
    assert "<script>" not in table
    assert "](" not in table.replace("\\](", "")
    rows = [line for line in table.splitlines() if line.startswith("| exact match")]
    assert len(rows) == 2
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {12}


def test_20_000_answers_are_scored_in_seconds(tmp_path, capsys):
    words = ["red", "a red one", "blue", "the man is riding a horse"]
    predictions = {f"q{place}": f"{words[place % 4]} {place % 7 or ''}".strip() for place in range(20_000)}
    folder = make(tmp_path / "large", predictions)
    began = time.process_time()
    assert main(["score", folder]) == 0
    # About 1 second on an idle CPU.
    assert time.process_time() - began < 15
    assert "20,000" in printed(capsys)[0]
