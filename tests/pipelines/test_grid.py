from __future__ import annotations

import json

import pytest
from questions import write_set
from refusals import assert_refused

from pipelines.cli import main
from pipelines.grid.results import read_results
from pipelines.grid.variants import Variant, make_variants, read_counts, read_methods
from vidzip.compress import METHODS, Coverage, VisionZip, describe
from vidzip.errors import BadArgument

MODEL = ["--model", "tiny-random", "--device", "cpu", "--max-new-tokens", "3", "--processes", "1"]
METHODS_OF_GRID = "visionzip,visionzip:merge=mean,stride,coverage:pool=4:keep_cls=false"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_set(tmp_path_factory.mktemp("set") / "set", videos=3, questions=2)
    (folder / "videos" / "clip2.mp4").write_bytes(b"not a video")
    return folder


def grid(folder, out, *options):
    return main(["grid", "shapes", "--data", str(folder), "--out", str(out), *MODEL, *options])


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("grid")
    assert grid(folder, out, "--methods", METHODS_OF_GRID, "--frames", "4,2", "--budget", "20,40") == 0
    return out


def rows(folder):
    return {row["id"]: row for row in map(json.loads, (folder / "answers.jsonl").read_text().splitlines())}


def test_every_run_is_the_one_that_eval_makes(folder, made, tmp_path):
    for key, options in {
        "4-frames-20-tokens-coverage-keep_cls=False-pool=4": [
            "--frames", "4", "--budget", "20", "--method", "coverage", "--method-option", "pool=4",
            "--method-option", "keep_cls=false",
        ],
        "2-frames-40-tokens-visionzip-merge=mean": [
            "--frames", "2", "--budget", "40", "--method-option", "merge=mean",
        ],
        "uncompressed": ["--uncompressed"],
        "no-video": ["--no-video"],
    }.items():  # fmt: skip
        out = tmp_path / key
        assert main(["eval", "shapes", "--data", str(folder), "--out", str(out), *MODEL, *options]) == 0
        assert json.loads((out / "run.json").read_text()) == json.loads((made / key / "run.json").read_text())
        ours, theirs = rows(made / key), rows(out)
        assert ours.keys() == theirs.keys()
        for one, row in ours.items():
            assert (row["prediction"], row["failure"]) == (theirs[one]["prediction"], theirs[one]["failure"])
            assert row.get("plan") == theirs[one].get("plan")


def test_failures_are_counted_for_every_variant_and_count_as_wrong(made):
    found = json.loads((made / "grid.json").read_text())
    assert len(found["settings"]) == 2 + 4 * 2 * 2
    for one in found["settings"]:
        assert one["failed"] == (0 if one["run"] == "no-video" else 2)
        assert one["accuracy"]["num_questions"] == 6


def test_differences_are_to_the_best_baseline_at_the_same_frames_and_budget(made):
    found = json.loads((made / "grid.json").read_text())
    value = {one["run"]: one["accuracy"]["value"] for one in found["settings"]}
    of = {one["run"]: one for one in found["settings"]}
    same = found["differences_at_same_frames"]
    assert len(same) == 2 * 2 * 2
    for one in same:
        ours, theirs = of[one["run"]], of[one["baseline"]]
        assert (ours["frames"], ours["budget"]) == (theirs["frames"], theirs["budget"])
        assert theirs["method"] in {"visionzip", "visionzip(merge=mean)"}
        rival = f"{theirs['frames']}-frames-{theirs['budget']}-tokens-visionzip"
        assert value[one["baseline"]] == max(value[rival], value[f"{rival}-merge=mean"])
        assert one["difference"]["value"] == pytest.approx(value[one["run"]] - value[one["baseline"]])
    assert len(found["differences_at_best_frames"]) == 2 * 2


def test_a_second_start_asks_nothing_again_and_prints_the_same(folder, made, monkeypatch, capsys):
    before = {path: path.read_bytes() for path in made.rglob("answers.jsonl")}
    record = (made / "grid.json").read_bytes()
    monkeypatch.setattr(
        "pipelines.runs.decode_pool.start_worker", lambda *_, **__: pytest.fail("a process was started")
    )
    assert grid(folder, made, "--methods", METHODS_OF_GRID, "--frames", "2,4", "--budget", "40,20", "--markdown") == 0
    assert {path: path.read_bytes() for path in made.rglob("answers.jsonl")} == before
    assert (made / "grid.json").read_bytes() == record
    assert (made / "grid.png").read_bytes().startswith(b"\x89PNG")
    out, err = capsys.readouterr()
    assert "| visionzip(merge=mean) |" in out
    assert "20 visual tokens in all" in out
    assert "uncompressed: 2 questions" in err


def test_an_interrupted_grid_resumes(folder, made, tmp_path):
    key = "4-frames-20-tokens-stride"
    whole = rows(made / key)
    (tmp_path / key).mkdir()
    for name in ("run.json", "answers.jsonl"):
        (tmp_path / key / name).write_bytes((made / key / name).read_bytes())
    lines = (tmp_path / key / "answers.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / key / "answers.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])
    assert grid(folder, tmp_path, "--methods", "stride", "--frames", "4", "--budget", "20") == 0
    again = rows(tmp_path / key)
    assert {one: row["prediction"] for one, row in again.items()} == {
        one: row["prediction"] for one, row in whole.items()
    }


def test_one_variant_can_be_read_alone(made):
    (variant,) = [one for one in make_variants([VisionZip()], [4], [20]) if one.method]
    result = read_results(str(made), [variant], ["visionzip"])
    assert result.variants[0].variant == variant
    assert result.variants[0].kept is None
    assert result.at_same_frames == result.at_best == ()


def test_methods_are_read_with_their_options():
    assert read_methods("visionzip, coverage:pool=4") == [VisionZip(), Coverage(pool=4)]
    every = [describe(method) for method in read_methods("all")]
    assert every == [name for name, kind in METHODS.items() if kind.takes_any_budget]
    assert "none" not in every


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("magic", "'magic'"),
        ("visionzip:merge", "'merge' in 'visionzip:merge'"),
        ("visionzip:merge=max", "'max'"),
        ("stride,stride", "stride"),
        (",", "no method"),
    ],
)
def test_wrong_methods_are_refused(text, says):
    with pytest.raises(BadArgument, match=says):
        read_methods(text)


@pytest.mark.parametrize("text", ["", "0", "8,x", "-1", "8,,9"])
def test_wrong_counts_are_refused(text):
    with pytest.raises(BadArgument, match="--frames"):
        read_counts(text, "--frames")
    assert read_counts("34, 8,8", "--frames") == [8, 34]


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        (("--frames", "8,40", "--budget", "20,30"), "30 tokens cannot hold 40"),
        (("--frames", "30,40", "--budget", "20,136"), "20 tokens cannot hold 30"),
    ],
)
def test_too_many_frames_for_every_budget_are_refused(folder, tmp_path, capsys, counts, says):
    assert grid(folder, tmp_path / "out", "--methods", "stride", *counts) == 2
    assert_refused(capsys, says, "lower --frames")
    assert not (tmp_path / "out").exists()


def test_frames_that_one_budget_cannot_hold_are_skipped_with_a_note(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert grid(folder, out, "--methods", "stride", "--frames", "2,5", "--budget", "3,5", "--baseline", "stride") == 0
    assert "note: 3 tokens cannot hold 5" in capsys.readouterr().err
    made = {path.name for path in out.iterdir() if path.is_dir()}
    assert made == {"no-video", "uncompressed", *(f"{f}-frames-{t}-tokens-stride" for f, t in ((2, 3), (2, 5), (5, 5)))}


def test_each_variant_has_its_own_folder():
    keys = [one.key for one in make_variants([VisionZip(), VisionZip(merge="mean")], [4, 8], [20])]
    assert keys == [
        "no-video", "uncompressed", "4-frames-20-tokens-visionzip", "8-frames-20-tokens-visionzip",
        "4-frames-20-tokens-visionzip-merge=mean", "8-frames-20-tokens-visionzip-merge=mean",
    ]  # fmt: skip
    assert Variant(frames=0).title == "no video"
