from __future__ import annotations

import json

import pytest
from refusals import assert_refused

from pipelines.bench.settings import WAYS
from pipelines.cli import main

SMALL = ["--device", "cpu", "--size", "tiny", "--frames", "3", "--budget", "20"]
PNG = b"\x89PNG"


@pytest.fixture(autouse=True)
def not_calibrated(monkeypatch):
    monkeypatch.setattr("pipelines.bench.predicting.find_costs", lambda *_: None)


def bench(*options):
    return main(["bench", *SMALL, *options])


def test_tables_file_and_picture(clip, tmp_path, capsys):
    out, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    options = ["--dtype", "float32,bfloat16", "--rounds", "1", "--batch", "2", "--markdown"]
    assert bench(str(clip), *options, "--json", str(out), "--plot", str(picture)) == 0
    said, errors = capsys.readouterr()
    assert errors == ""
    assert "2 frames at once in the tower; medians of 1 rounds" in said
    assert "published: VisionZip as published" in said
    assert "| video | dtype | way | frames | tokens | decode | preprocess | encode | compress | project |" in said
    assert "| numbered.mp4 | float32 | full | 8 | 2,056 |" in said
    assert "| numbered.mp4 | encode + compress: published / ours | 3 frames, 20 tokens | float32 / bfloat16 |" in said
    assert "first token from the file: file / 8 full frames" in said
    assert "| numbered.mp4 | float32 | 3 frames, 20 tokens | encode to first token |" in said
    assert picture.read_bytes().startswith(PNG)

    held = json.loads(out.read_text())
    assert held["schema"] == "vidzip/bench/1"
    assert held["command"].split()[0] == "vidzip"
    assert {"vidzip", "torch", "transformers", "python"} <= held["versions"].keys()
    assert held["settings"]["frames"] == [3]
    assert held["models"]["bfloat16"]["frames_at_once"] == 2
    assert held["costs"]["float32"]["is_calibrated"] is False
    assert "not calibrated" in said
    assert len(held["cases"]) == 2 * len(WAYS)
    for one in held["cases"]:
        assert len(one["rounds"]) == 1
        assert one["rounds"][0].keys() == one["median_seconds"].keys()
        assert (one["share_kept_otherwise"] is not None) == (one["way"] == "ours" and one["dtype"] == "bfloat16")
    shown = {(one["what"], one["case"]["way"], one["against"]["way"]) for one in held["ratios"]}
    assert ("peak memory of activations", "published-whole", "ours") in shown
    assert {one["case"]["way"] for one in held["predictions"]} == {"ours", "file"}


def test_random_frames_are_measured_where_no_video_is_named(tmp_path, capsys):
    out = tmp_path / "bench.json"
    assert bench("--ways", "encode,ours", "--rounds", "1", "--json", str(out)) == 0
    assert "decode" not in capsys.readouterr().out.split("dtype", 1)[1].splitlines()[0]
    held = json.loads(out.read_text())
    assert {(one["way"], one["video"]) for one in held["cases"]} == {("encode", None), ("ours", None)}
    assert {one["what"] for one in held["ratios"]} == {"encode + compress"}


def test_a_picture_of_whole_frames_alone(tmp_path):
    picture = tmp_path / "bench.png"
    assert bench("--ways", "full", "--rounds", "1", "--plot", str(picture)) == 0
    assert picture.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        (["--frames", "0"], ("--frames is '0'", "give numbers of 1 or more")),
        (["--ways", "magic"], ("unknown 'magic' in --ways", "published-whole")),
        (["--ways", "file"], ("needs a video", "name a video")),
        (["--dtype", "int8"], ("unknown dtype 'int8'", "use auto")),
        (["--budget", "1"], ("1 tokens cannot hold 3 frames", "--budget")),
        (["--rounds", "0"], ("0 rounds", "give 1 or more")),
        (["--device", "cuda:99"], ("no device cuda:99", "use auto or cpu")),
        (["--json", "missing/bench.json"], ("there is no folder 'missing'", "a folder that is there")),
        (["--plot", "."], ("it is a folder", "a folder that is there")),
        (["--json", "one", "--plot", "./one"], ("name one file", "a name of its own")),
        (["missing.mp4"], ("no file 'missing.mp4'", "check the path")),
    ],
)
def test_what_cannot_be_measured_is_refused(options, refused, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bench(*options) == 2
    assert_refused(capsys, *refused)


def test_a_broken_video_ends_it_before_anything_is_measured(clip, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pipelines.bench.measuring.measure", lambda *_: pytest.fail("something was measured"))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(b"\x1a\x45\xdf\xa3" + b"nothing" * 50)
    assert bench(str(clip), str(cut)) == 2
    assert_refused(capsys, "cut.mkv", "")
