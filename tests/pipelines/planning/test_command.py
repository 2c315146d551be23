from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys

import click
import pytest
from refusals import assert_refused

import vidzip
from pipelines.cli import main
from pipelines.commands.plan import Memory
from pipelines.planning.cost_models import assumed_costs
from vidzip import Budget
from vidzip.planner import NOT_CALIBRATED, measured_accuracy, plan_with_report, planning


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setattr("vidzip.calibration.cache_folder", lambda: str(folder))
    return folder


@pytest.fixture
def folder(clip, tmp_path):
    """Two videos, one of them in a subfolder, a broken video, and other files."""
    folder = tmp_path / "videos"
    (folder / "more").mkdir(parents=True)
    shutil.copy(clip, folder / "one.mp4")
    shutil.copy(clip, folder / "more" / "two.MP4")
    (folder / "broken.mp4").write_bytes(b"not a video")
    (folder / "list.txt").write_text("one.mp4")
    (folder / "old.vidzip").write_bytes(b"")
    return folder


def cells(lines, head):
    """Rows of the table whose header starts with ``head``, by their first cells."""
    start = next(i for i, line in enumerate(lines) if line.startswith(head))
    rows = {}
    for line in lines[start + 1 :]:
        if not line:
            break
        name, *rest = [cell.strip() for cell in line.split("  ") if cell.strip()]
        rows[name] = rest
    return rows


def lines_of(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


CPU = ["--model", "tiny", "--device", "cpu"]


def test_a_plan_is_printed_with_costs_constraints_alternatives_and_frontier(clip, capsys):
    assert main(["plan", str(clip), *CPU]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "34 frames, 136 of 136 tokens"
    costs = plan_with_report(clip, costs=assumed_costs("tiny", "cpu")).costs
    stages = cells(lines, "stage")
    assert list(stages) == [*costs.stages, "to the first token", "each new token", "peak memory"]
    assert stages["encode"] == [f"{costs.stages['encode'].seconds:.3f} s", "± 100%"]
    assert stages["to the first token"] == [f"{costs.seconds:.3f} s", f"± {costs.error:.0%}"]
    assert "limited by: tokens" in lines
    others, accuracy = cells(lines, "not chosen"), measured_accuracy().table("visionzip")
    assert others["17 frames"][0] == "136"
    assert all(f"{accuracy.at(frames, 136):.1%}" in others["17 frames"][-1] for frames in (17, 34))
    frontier = cells(lines, "frames  tokens at most")
    assert list(frontier) == ["1", "2", "4", "8", "17", "34", "50"]
    assert frontier["34"][-2:] == [f"{accuracy.at(34, 136):.1%}", "chosen"]
    assert err == f"note: costs of tiny on cpu are assumed, {NOT_CALIBRATED}\n"


def test_a_latency_limit_is_kept_and_printed(clip, capsys):
    costs = assumed_costs("tiny", "cpu")
    few, many = (
        plan_with_report(clip, Budget(num_frames=20, total_tokens=tokens), costs=costs).costs.seconds
        for tokens in (30, 31)
    )
    limit = (few + many) / 2
    assert main(["plan", str(clip), *CPU, "--frames", "20", "--max-latency", str(limit)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "20 frames, 30 of 136 tokens (106 unused: limited by latency)"
    assert "limited by: latency" in lines
    frontier = cells(lines, "frames  tokens at most")
    assert frontier["20"][-1] == "chosen"
    assert list(frontier.values())[-1][-1] == "exceeds the latency limit"


def test_a_memory_limit_is_kept_and_printed(clip, capsys):
    assert main(["plan", str(clip), *CPU, "--max-memory", "40MB"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "limited by: memory" in [line.replace("tokens, ", "") for line in lines]
    assert list(cells(lines, "frames  tokens at most").values())[-1][-1] == "exceeds the memory limit"


def test_without_a_model_costs_are_those_of_tiny_with_a_note(clip, capsys):
    assert main(["plan", str(clip), "--max-latency", "60", "--device", "cpu"]) == 0
    assert "note: no --model was named: costs are those of tiny\n" in capsys.readouterr().err


def test_a_preference_alone_is_explained_without_costs(clip, capsys):
    assert main(["plan", str(clip), "--prefer", "detail", "--min-tokens", "2", "--method", "pool"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "8 frames, 136 of 136 tokens"
    assert "latency" not in out
    tokens, reason = cells(lines, "not chosen")["9 frames"]
    assert tokens == "153"
    assert "136" in reason
    assert err == ""
    assert main(["plan", str(clip), "--method", "none"]) == 0
    assert "visionzip" in capsys.readouterr().err


def test_json_has_the_whole_report(clip, capsys):
    assert main(["plan", str(clip), *CPU, "--max-latency", "0.4", "--json"]) == 0
    (planned,) = lines_of(capsys)
    assert planned["schema"] == "vidzip/plan/1"
    assert (planned["max_latency_seconds"], planned["prefer"], planned["method"]) == (0.4, "balanced", "visionzip")
    assert planned["predicted_by"] == {"model": "tiny", "device": "cpu", "dtype": "float32", "is_calibrated": False}
    assert planned["predicted"]["seconds"] <= 0.4
    assert planned["predicted"]["stages"]["decode"]["error"] == 1.0
    assert "latency" in planned["binding_constraints"]
    assert all(one["reason"] for one in planned["alternatives"])
    assert [one["num_frames"] for one in planned["frontier"]][:3] == [1, 2, 4]
    assert main(["plan", str(clip), "--json"]) == 0
    (plain,) = lines_of(capsys)
    assert (plain["predicted"], plain["predicted_by"]) == (None, None)


def test_calibrated_costs_are_preferred_to_assumed_ones(clip, capsys, monkeypatch):
    measured = dataclasses.replace(assumed_costs("tiny", "cpu"), is_calibrated=True, total_error=0.12, device="my cpu")
    requests = []

    def find_costs(*request):
        requests.append(request)
        return measured

    monkeypatch.setattr("pipelines.planning.cost_models.find_costs", find_costs)
    assert main(["plan", str(clip), "--model", "tiny", "--device", "cpu", "--dtype", "float32"]) == 0
    out, err = capsys.readouterr()
    assert requests == [("tiny", "cpu", "float32")]
    predicted = plan_with_report(clip, costs=measured).costs
    assert predicted.error > 0.12  # what videos differ in comes on top
    assert cells(out.splitlines(), "stage")["to the first token"][-1] == f"± {predicted.error:.0%}"
    assert err == ""


def test_a_plot_is_written(clip, tmp_path, capsys):
    picture = tmp_path / "plan.png"
    options = [*CPU, "--plot", str(picture), "--max-latency", "0.5", "--max-memory", "60MB"]
    assert main(["plan", str(clip), *options]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_folders_plans_are_listed_and_added_up(folder, capsys):
    assert main(["plan", str(folder), *CPU]) == 2
    out, err = capsys.readouterr()
    lines = out.splitlines()
    rows = cells(lines, "video ")
    assert list(rows) == ["more/two.MP4", "one.mp4"]
    totals = cells(["totals", *lines[lines.index("") + 1 :]], "totals")
    one = plan_with_report(folder / "one.mp4", costs=assumed_costs("tiny", "cpu"))
    assert totals["videos"] == ["2 planned, 1 failed"]
    assert (totals["frames"], totals["tokens"]) == (["68"], ["272"])
    assert totals["time to the first token of each"] == [f"{2 * one.costs.seconds:.3f} s ± {one.costs.error:.0%}"]
    size = assumed_costs("tiny", "cpu").shape.pack_bytes(34, 136)
    assert totals["disk for packs"] == [f"{2 * size / 1e6:.1f} MB"]
    assert "broken.mp4' cannot be planned: " in err
    assert "2 files" in err
    assert err.count(NOT_CALIBRATED) == 1


def test_json_of_a_folder_ends_with_the_totals(folder, capsys):
    assert main(["plan", str(folder), *CPU, "--json"]) == 2
    *videos, failed, total = lines_of(capsys)
    assert [one["schema"] for one in videos] == ["vidzip/plan/1"] * 2
    assert (failed["schema"], failed["video"]) == ("vidzip/plan-failure/1", str(folder / "broken.mp4"))
    assert (total["schema"], total["videos"], total["failed"], total["other_files"]) == (
        "vidzip/plan-folder/1",
        2,
        1,
        2,
    )
    assert total["seconds"] == pytest.approx(sum(one["predicted"]["seconds"] for one in videos))
    assert total["visual_tokens"] == 272


def test_a_folder_without_failures_exits_with_0(folder, capsys):
    (folder / "broken.mp4").unlink()
    assert main(["plan", str(folder), *CPU]) == 0


def test_a_limit_that_one_video_exceeds_fails_that_video_only(folder, capsys):
    from clips import write_numbered

    (folder / "broken.mp4").unlink()
    write_numbered(folder / "large.mp4", num_frames=2000, options={"g": "2000"})  # one keyframe
    small, large = (
        plan_with_report(folder / name, Budget(num_frames=1, total_tokens=1), costs=assumed_costs("tiny", "cpu")).costs
        for name in ("one.mp4", "large.mp4")
    )
    limit = (small.seconds + large.seconds) / 2
    assert main(["plan", str(folder), *CPU, "--max-latency", str(limit)]) == 2
    out, err = capsys.readouterr()
    assert "2 planned, 1 failed" in out
    assert "large.mp4' cannot be planned: " in err
    assert f"{limit:g} s" in err


def test_a_folder_without_videos_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["plan", str(tmp_path / "empty"), *CPU]) == 2
    assert_refused(capsys, "no video", ".mp4")


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["--max-latency", "0.001"], "0.001 s", "raise --max-latency to"),
        (["--max-memory", "1MB"], "0.001 GB", "raise --max-memory to"),
        (["--max-latency", "0"], "0.0 seconds", "give seconds above 0"),
        (["--max-memory", "much"], "'much'", "see 'vidzip plan --help'"),
        (["--min-tokens", "137"], "136 tokens cannot hold 1 frames at 137 each", "raise --budget to 137"),
        (["--prefer", "speed"], "'speed' is not one of", "see 'vidzip plan --help'"),
        (["--model", "nobody/knows"], "'nobody/knows'", "vidzip calibrate"),
        (["--dtype", "float8"], "unknown dtype 'float8'", "use one of float32"),
        (["--device", "abacus"], "unknown device 'abacus'", "use cpu, cuda"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(clip, capsys, arguments, says, hint):
    command = ["plan", str(clip), "--model", "tiny", "--device", "cpu", *arguments]
    assert main(command) == 2
    assert_refused(capsys, says, hint)


def test_a_missing_video_and_a_plot_of_a_folder_are_refused(folder, capsys):
    assert main(["plan", "missing.mp4", *CPU]) == 2
    assert_refused(capsys, "there is no file 'missing.mp4'", "check the path")
    assert main(["plan", str(folder), *CPU, "--plot", "x.png"]) == 2
    assert_refused(capsys, "--plot draws one video's plan", "name a video")


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("8GB", 8 * 10**9), ("7.5 GiB", 15 * 2**29), ("500mb", 5 * 10**8), ("8e9", 8 * 10**9), ("123", 123), ("1k", 1000)],
)
def test_amounts_of_memory(text, num_bytes):
    assert Memory().convert(text, None, None) == num_bytes


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "8 apples", "8ib", "1e400"])
def test_invalid_amounts_of_memory(text):
    with pytest.raises((click.BadParameter, vidzip.VidzipError)):
        Budget(max_memory_bytes=Memory().convert(text, None, None))


@pytest.mark.parametrize("options", [["--max-latency", "60", "--device", "cpu"], ["--prefer", "coverage"]])
def test_planning_imports_no_torch(clip, options):
    code = (
        "import sys; from pipelines.cli import main; code = main(sys.argv[1:]); "
        "loaded = {'torch', 'transformers'} & set(sys.modules); "
        "sys.exit(f'loaded {loaded}' if loaded else code)"
    )
    command = [sys.executable, "-c", code, "plan", str(clip), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command", [["ask", "CLIP", "what is shown"], ["pack", "CLIP", "-o", "PACK"], ["plan", "CLIP"]]
)
def test_a_command_plans_a_video_once(clip, tmp_path, monkeypatch, command):
    made = []
    choose = planning.choose

    def counted(*arguments):
        made.append(arguments)
        return choose(*arguments)

    monkeypatch.setattr(planning, "choose", counted)
    paths = {"CLIP": str(clip), "PACK": str(tmp_path / "some.vidzip")}
    assert main([paths.get(word, word) for word in command]) == 0
    assert len(made) == 1
