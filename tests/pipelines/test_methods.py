from __future__ import annotations

import io
import json
import sys

import pytest
from refusals import assert_refused

import vidzip
from pipelines.cli import main
from vidzip import PackedVideo
from vidzip.compress import METHODS


def lines_of(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def no_model(monkeypatch):
    """Fail if a model is loaded."""
    monkeypatch.setattr(vidzip, "load", lambda *_, **__: pytest.fail("a model was loaded"))


def test_all_methods_are_listed(capsys):
    assert main(["methods"]) == 0
    header, *lines, empty, advice = capsys.readouterr().out.splitlines()
    assert (empty, advice) == ("", "coverage is recommended for many frames, 17 or more.")
    assert header.split() == ["method", "what", "it", "does", "scope", "source"]
    assert [line.split()[0] for line in lines] == list(METHODS)
    for line, kind in zip(lines, METHODS.values(), strict=True):
        assert kind.summary in line
        assert ("  across frames  " in line) == kind.is_across_frames
        assert line.endswith(kind.origin)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_shown_with_its_options(capsys, name):
    assert main(["methods", name]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: {METHODS[name].summary}\n")
    assert ("Recommended for" in out) == bool(METHODS[name].recommended_for)
    assert ("CLS tokens of frames" in out) == METHODS[name].keeps_cls
    for one in METHODS[name].options():
        (line,) = (line for line in out.splitlines() if line.split()[:1] == [one.name])
        assert line.endswith(one.explanation)


def test_a_table_of_options(capsys):
    assert main(["methods", "random"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[4:]] == [
        ["option", "default"], ["seed", "0"], ["keep_cls", "true"],
    ]  # fmt: skip
    assert main(["methods", "stride"]) == 0
    assert capsys.readouterr().out.endswith("no options.\n")


def test_methods_as_json(capsys):
    assert main(["methods", "--json"]) == 0
    listed = lines_of(capsys)
    assert [one["name"] for one in listed] == list(METHODS)
    assert [one["name"] for one in listed if one["recommended_for"]] == ["coverage"]
    assert main(["methods", "visionzip", "--json"]) == 0
    (shown,) = lines_of(capsys)
    assert shown == listed[0]
    (merge,) = shown["options"]
    assert merge.pop("explanation")
    assert shown == {
        "schema": "vidzip/method/1",
        "name": "visionzip",
        "summary": METHODS["visionzip"].summary,
        "across_frames": False,
        "keeps_cls": True,
        "any_budget": True,
        "source": "VisionZip, CVPR 2025, arXiv 2412.04467",
        "recommended_for": None,
        "options": [{"name": "merge", "default": "sum", "takes": "sum or mean"}],
    }


def test_an_unknown_method_is_refused(capsys):
    assert main(["methods", "magic"]) == 2
    assert_refused(capsys, "unknown method 'magic'", "use one of visionzip")


def test_ask_and_pack_take_a_method_and_its_options(clip, tmp_path, capsys):
    file = tmp_path / "clip.vidzip"
    chosen = ["--method", "random", "--method-option", "seed=3", "--method-option", "keep_cls=false", "--frames", "20"]
    chosen += ["--model", "tiny-random", "--json"]
    assert main(["ask", str(clip), "What?", *chosen, "--max-new-tokens", "2"]) == 0
    (answer,) = lines_of(capsys)
    assert answer["method"] == "random(seed=3, keep_cls=False)"
    assert answer["visual_tokens"] == 136
    assert main(["pack", str(clip), "-o", str(file), *chosen]) == 0
    (packed,) = lines_of(capsys)
    assert packed["method"] == PackedVideo.load(file).method == answer["method"]
    assert main(["ask", str(file), "What?", "--model", "tiny-random", "--json", "--max-new-tokens", "2"]) == 0
    (again,) = lines_of(capsys)
    assert (again["method"], again["answer"]) == (answer["method"], answer["answer"])


def test_chat_takes_a_method(clip, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("What?\n"))
    chosen = ["--method", "pool", "--frames", "8", "--model", "tiny-random", "--max-new-tokens", "2", "--json"]
    assert main(["chat", str(clip), *chosen]) == 0
    assert lines_of(capsys)[0]["method"] == "pool"


def test_the_tokens_of_each_frame_are_reported(clip, tmp_path, capsys):
    file = tmp_path / "clip.vidzip"
    chosen = ["--method", "visionzip-adaptive", "--method-option", "min_tokens=8", "--frames", "34"]
    assert main(["pack", str(clip), "-o", str(file), *chosen]) == 0
    (frames,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("frames"))
    held = PackedVideo.load(file)
    assert sum(count == 0 for count in held.tokens_per_frame) == 17  # 17 frames can have 8 of 136 tokens
    assert held.tokens_per_frame != held.plan.tokens_per_frame
    assert "34, 17 of them without tokens, at seconds " in frames
    empty = [
        seconds for seconds, count in zip(held.timestamps_seconds, held.tokens_per_frame, strict=True) if not count
    ]
    assert frames.split("seconds ")[1] == " ".join([*(f"{seconds:.2f}" for seconds in empty[:8]), "…"])
    assert main(["ask", str(file), "What?", "--json", "--max-new-tokens", "1"]) == 0
    (answer,) = lines_of(capsys)
    assert answer["tokens_per_frame"] == list(held.tokens_per_frame)
    assert answer["visual_tokens"] == sum(answer["tokens_per_frame"]) == 136
    assert answer["method"] == "visionzip-adaptive(min_tokens=8)"


@pytest.mark.parametrize(
    ("chosen", "says", "hint"),
    [
        (["--method", "magic"], "unknown method 'magic'", "use one of visionzip"),
        (["--method-option", "seed=1"], "visionzip has no option 'seed'", "it takes merge (sum or mean)"),
        (["--method-option", "merge=max"], "visionzip: merge is 'max'", "it takes sum or mean"),
        (["--method-option", "merge"], "'merge'", "--help"),
        (["--method-option", "=mean"], "'=mean'", "--help"),
        (["--method-option", "merge="], "'merge='", "--help"),
        (
            ["--method-option", "merge=sum", "--method-option", "merge=mean"],
            "merge is given twice, as 'sum' and 'mean'",
            "--help",
        ),
    ],
)
def test_a_wrong_method_or_option_is_refused_before_a_model_is_loaded(clip, capsys, no_model, *, chosen, says, hint):
    assert main(["ask", str(clip), "What?", *chosen]) == 2
    assert_refused(capsys, says, hint)
    assert main(["eval", "msvd", "--data", "nowhere", "--out", "nowhere", *chosen]) == 2
    assert_refused(capsys, says, hint)


def test_without_compression_frames_are_whole(clip, capsys):
    assert main(["ask", str(clip), "What?", "--method", "none", "--model", "tiny-random"]) == 2
    assert_refused(capsys, "257 tokens, but one was given 4", "257 tokens")
    whole = ["--method", "none", "--frames", "2", "--budget", "514", "--model", "tiny-random", "--json"]
    assert main(["ask", str(clip), "What?", *whole, "--max-new-tokens", "1"]) == 0
    assert lines_of(capsys)[0]["tokens_per_frame"] == [257, 257]


def test_a_packed_video_takes_no_method(pack, capsys, no_model):
    assert main(["ask", str(pack), "What?", "--method", "stride", "--method-option", "seed=1"]) == 2
    assert_refused(capsys, "--method, --method-option", "leave out")


def test_eval_takes_a_methods_options(tmp_path):
    from questions import write_set

    folder = write_set(tmp_path / "set", videos=1, questions=1)
    chosen = ["--method", "visionzip", "--method-option", "merge=mean", "--frames", "4"]
    model = ["--model", "tiny-random", "--device", "cpu", "--max-new-tokens", "1", "--processes", "1"]
    assert main(["eval", "shapes", "--data", str(folder), "--out", str(tmp_path / "run"), *model, *chosen]) == 0
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (described["method"], described["options"]) == ("visionzip", {"merge": "mean"})
    (row,) = map(json.loads, (tmp_path / "run" / "answers.jsonl").read_text().splitlines())
    assert row["plan"]["method"] == "visionzip(merge=mean)"
