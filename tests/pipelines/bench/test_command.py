from __future__ import annotations

import json

import pytest
from refusals import assert_refused

from pipelines.bench.settings import VARIANTS
from pipelines.cli import main

SMALL = ["--device", "cpu", "--size", "tiny", "--frames", "3", "--budget", "20"]
PNG = b"\x89PNG"


@pytest.fixture(autouse=True)
def not_calibrated(monkeypatch):
    monkeypatch.setattr("pipelines.bench.predicting.find_costs", lambda *_: None)


def bench(*options):
    return main(["bench", *SMALL, *options])


def test_tables_file_and_plot(clip, tmp_path, capsys):
    out, plot = tmp_path / "bench.json", tmp_path / "bench.png"
    options = ["--rounds", "1", "--batch", "2", "--markdown", "--json", str(out), "--plot", str(plot)]
    assert bench(str(clip), *options) == 0
    printed, errors = capsys.readouterr()
    assert errors == ""
    assert "2 frames per tower batch" in printed
    assert (
        "| video | dtype | variant | frames | tokens | decode | preprocess | encode | compress | project |" in printed
    )
    assert "| numbered.mp4 | float32 | uncompressed | 8 | 2,056 |" in printed
    assert "first token from the file: file / 8 uncompressed frames" in printed
    assert "| numbered.mp4 | float32 | 3 frames, 20 tokens | encode to first token |" in printed
    assert "not calibrated" in printed
    assert plot.read_bytes().startswith(PNG)

    record = json.loads(out.read_text())
    assert record["schema"] == "vidzip/bench/1"
    assert record["command"].split()[0] == "vidzip"
    assert {"vidzip", "torch", "transformers", "python"} <= record["versions"].keys()
    assert record["settings"]["frames"] == [3]
    assert record["models"]["float32"]["batch_frames"] == 2
    assert record["costs"]["float32"]["is_calibrated"] is False
    assert {case["variant"] for case in record["cases"]} == set(VARIANTS)
    for case in record["cases"]:
        assert len(case["rounds"]) == 1
        assert case["rounds"][0].keys() == case["median_seconds"].keys()
        assert case["changed_share"] is None
    ratios = {(one["name"], one["case"]["variant"], one["baseline"]["variant"]) for one in record["ratios"]}
    assert ("peak memory of activations", "published-one-batch", "vidzip") in ratios
    assert {one["case"]["variant"] for one in record["predictions"]} == {"vidzip", "file"}


def test_random_frames_in_two_precisions(tmp_path, capsys):
    out = tmp_path / "bench.json"
    options = ["--variants", "published,vidzip", "--dtype", "float32,bfloat16", "--rounds", "1", "--markdown"]
    assert bench(*options, "--json", str(out)) == 0
    printed = capsys.readouterr().out
    assert "| decode |" not in printed
    assert "| encode + compress: published / vidzip | 3 frames, 20 tokens | float32 / bfloat16 |" in printed
    record = json.loads(out.read_text())
    assert {case["video"] for case in record["cases"]} == {None}
    for case in record["cases"]:
        is_compared = (case["variant"], case["dtype"]) == ("vidzip", "bfloat16")
        assert (case["changed_share"] is not None) == is_compared


def test_a_plot_of_uncompressed_frames_only(tmp_path):
    plot = tmp_path / "bench.png"
    assert bench("--variants", "uncompressed", "--rounds", "1", "--plot", str(plot)) == 0
    assert plot.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        (["--frames", "0"], ("'0'", "1 or more")),
        (["--variants", "magic"], ("'magic'", "published-one-batch")),
        (["--variants", "file"], ("'file'", "video")),
        (["--dtype", "int8"], ("unknown dtype 'int8'", "use auto")),
        (["--budget", "1"], ("1 tokens cannot hold 3 frames", "--budget")),
        (["--rounds", "0"], ("--rounds is 0", "1 or more")),
        (["--device", "cuda:99"], ("no device cuda:99", "cpu")),
        (["--json", "missing/bench.json"], ("there is no folder 'missing'", "folder")),
        (["--plot", "."], ("folder", "folder")),
        (["--json", "one", "--plot", "./one"], ("--json and --plot", "two files")),
        (["missing.mp4"], ("no file 'missing.mp4'", "check the path")),
    ],
)
def test_invalid_options_are_refused(options, refused, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bench(*options) == 2
    assert_refused(capsys, *refused)


def test_a_broken_video_is_found_before_measuring(clip, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pipelines.bench.running.measure", lambda *_: pytest.fail("something was measured"))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(b"\x1a\x45\xdf\xa3" + b"nothing" * 50)
    assert bench(str(clip), str(cut)) == 2
    assert_refused(capsys, "cut.mkv", "")
