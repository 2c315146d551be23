from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from refusals import assert_refused

import pipelines.commands.ask
import vidzip
from eval.shapes import make_clip
from pipelines import demo
from pipelines.cli import main

VIDZIP = Path(sys.executable).parent / "vidzip"


def lines_of(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_ask_prints_one_object_a_question(clip, capsys):
    questions = ["Where is the red star?", "Which way does the red star move?"]
    assert main(["ask", str(clip), *questions, "--frames", "34", "--max-new-tokens", "4", "--json"]) == 0
    first, second = lines_of(capsys)
    assert [first["question"], second["question"]] == questions
    assert list(first) == [
        "schema", "question", "answer", "finish_reason", "frames_requested", "frames", "visual_tokens", "uncompressed_tokens",
        "baseline_tokens", "tokens_per_frame", "timestamps_seconds", "stage_seconds", "method", "model", "video",
        "warnings",
    ]  # fmt: skip
    assert first["schema"] == "vidzip/answer/1"
    assert first["frames_requested"] == first["frames"] == 34
    assert first["visual_tokens"] == sum(first["tokens_per_frame"]) == 136
    assert first["uncompressed_tokens"] == 34 * 257
    assert first["baseline_tokens"] == 2056
    assert first["timestamps_seconds"] == sorted(set(first["timestamps_seconds"]))
    assert len(first["timestamps_seconds"]) == len(first["tokens_per_frame"]) == 34
    assert list(first["stage_seconds"]) == [
        "decode", "preprocess", "encode", "compress", "project", "prefix", "prefill", "generate",
    ]  # fmt: skip
    assert (first["method"], first["model"], first["video"]) == ("visionzip", "tiny", str(clip))
    assert first["finish_reason"] == "stop"
    assert first["warnings"] == []


def test_ask_prints_answers_and_a_short_table(clip, capsys):
    assert main(["ask", str(clip), "Where is the star?", "--frames", "17", "--max-new-tokens", "4"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "Q: Where is the star?"
    assert lines[1].startswith("A: ")
    assert "tokens        4,369 → 136   (8 uncompressed frames take 2,056)" in lines
    assert lines[-1].startswith("generate s")
    assert err == "note: no --model was named: tiny answers, which knows coloured shapes only\n"


def test_a_question_outside_of_its_words_gets_a_hint(clip, capsys):
    questions = ["Why does the dog bark?", "Where is the star?", "What does the dog eat?"]
    assert main(["ask", str(clip), *questions, "--frames", "2"]) == 0
    note, *warnings, hint = capsys.readouterr().err.splitlines()
    assert note.startswith("note: no --model")
    assert warnings == ["warning: tiny does not know 'Why', 'dog', 'bark'", "warning: tiny does not know 'dog', 'eat'"]
    assert hint.startswith("hint: tiny")


def test_a_model_that_was_named_gets_no_note(clip, capsys):
    assert main(["ask", str(clip), "Why?", "--frames", "2", "--max-new-tokens", "1", "--model", "tiny-random"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("frames", [1, 7, 8, 16, 17])
def test_the_usual_frame_counts(clip, capsys, frames):
    assert main(["ask", str(clip), "What?", "--frames", str(frames), "--max-new-tokens", "1", "--json"]) == 0
    (answer,) = lines_of(capsys)
    assert (answer["frames"], answer["visual_tokens"]) == (frames, 136)


@pytest.mark.parametrize(
    ("name", "frames", "used", "warns"),
    [
        ("nasa_13013.mp4", 64, 64, False),
        ("flipping_a_pancake.mkv", 136, 136, False),
        ("frameqa_1.gif", 34, 20, True),
        ("newtonscradle.gif", 34, 34, False),
        ("-video-with-dash-.mp4", 3, 3, False),
    ],
)
def test_real_files(videos, capsys, monkeypatch, *, name, frames, used, warns):
    monkeypatch.chdir(videos)
    arguments = ["ask", name, "Where is the circle?", "--frames", str(frames), "--max-new-tokens", "2", "--json"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["frames_requested"] == frames
    assert (answer["frames"], answer["visual_tokens"]) == (used, 136)
    assert bool(answer["warnings"]) == warns
    assert ("warning: the video has 20 distinct frames" in err) == warns


def test_a_damaged_file_is_answered_from_what_decodes(videos, capsys, monkeypatch):
    monkeypatch.chdir(videos)
    arguments = ["ask", "corrupted.mp4", "What?", "--frames", "16", "--max-new-tokens", "1", "--json"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert (answer["frames"], answer["visual_tokens"]) == (16, 136)
    assert max(answer["timestamps_seconds"]) == pytest.approx(2.7)
    (warning,) = [one for one in answer["warnings"] if "5.000 s" in one and "2.800 s" in one and "16 frames" in one]
    assert f"warning: {warning}" in err


def test_strict_makes_damage_an_error_and_says_the_way_out(videos, capsys, monkeypatch):
    monkeypatch.chdir(videos)
    arguments = ["ask", "corrupted.mp4", "What?", "--frames", "16", "--max-new-tokens", "1", "--json", "--strict"]
    assert main(arguments) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert "cannot be decoded past 2.7" in error
    way_out = hint.partition("(")[2].partition(")")[0].split()
    assert way_out[0] == "--end"
    assert main([*arguments, *way_out]) == 0
    (answer,) = lines_of(capsys)
    assert (answer["frames"], answer["visual_tokens"]) == (16, 136)


def test_a_stretch_of_the_video(clip, capsys):
    assert main(["plan", str(clip), "--frames", "4", "--start", "0:01", "--end", "1.8", "--json"]) == 0
    (planned,) = lines_of(capsys)
    assert planned["timestamps_seconds"] == pytest.approx([1.1, 1.3, 1.5, 1.7])


def test_plan(clip, capsys):
    assert main(["plan", str(clip), "--budget", "20", "--frames", "6"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "6 frames, 20 of 20 tokens",
        "frames  tokens each  dominant + contextual",
        "4       3            3 + 0",
        "2       4            3 + 1",
        "at seconds 0.17 0.50 0.83 1.17 1.50 1.83",
    ]
    assert err == ""
    assert main(["plan", str(clip), "--budget", "900", "--frames", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        "2 frames, 514 of 900 tokens (386 unused: every frame keeps all of its tokens)",
        "frames  tokens each  dominant + contextual",
        "2       257          uncompressed",
    ]
    assert main(["plan", str(clip), "--budget", "900", "--frames", "2", "--json"]) == 0
    (planned,) = lines_of(capsys)
    assert planned["schema"] == "vidzip/plan/1"
    assert (planned["visual_tokens"], planned["unused_tokens"], planned["tokens_per_frame"]) == (514, 386, [257, 257])


def test_probe(clip, tmp_path, capsys):
    assert main(["probe", str(clip)]) == 0
    out = capsys.readouterr().out
    assert "num_frames        50\n" in out
    assert "duration_seconds  2\n" in out
    copy = tmp_path / "unknown.mkv"
    from clips import write_numbered

    write_numbered(copy, num_frames=10)
    assert main(["probe", str(copy), "--json"]) == 0
    (info,) = lines_of(capsys)
    assert info["schema"] == "vidzip/probe/1"
    assert info["num_frames"] == 10
    (note,) = info["notes"]
    assert "10 packets" in note
    assert main(["probe", str(copy)]) == 0
    assert f"note: {note}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["probe", "missing.mp4"], "there is no file 'missing.mp4'", "check the path"),
        (["ask", "{clip}", "What?", "--frames", "0"], "the frame count is 0", "give 1 or more"),
        (["ask", "{clip}", "What?", "--budget", "0"], "the token budget is 0", "give 1 or more"),
        (["ask", "{clip}", "What?", "--budget", "-5"], "the token budget is -5", "give 1 or more"),
        (
            ["ask", "{clip}", "What?", "--frames", "200"],
            "136 tokens cannot hold 200 frames at 1 each",
            "lower --frames to 136 or raise --budget to 200",
        ),
        (["plan", "{clip}", "--frames", "9", "--budget", "8"], "8 tokens cannot hold 9 frames", "lower --frames to 8"),
        (["ask", "{clip}", " "], "the question is empty", "ask something"),
        (["ask", "{clip}", "caf\udce9?"], "is not valid text", "UTF-8"),
        (["ask", "{clip}", "What?", "--model", ""], "''", "tiny-random"),
        (["ask", "{clip}", "What?", "--model", "./nothing"], "'./nothing'", "folder"),
        (["ask", "{clip}", "What?", "--model", "nothing"], "'nothing'", "tiny-random"),
        (["ask", "{clip}", "What?", "--model", "{folder}"], "config.json", "folder"),
        (["ask", "{clip}", "What?", "--device", "abacus"], "unknown device", "use auto, cpu"),
        (["ask", "{clip}", "What?", "--start", "9:59"], "the video ends at 2 s", "start"),
        (["ask", "{clip}", "What?", "--start", "soon"], "'soon'", "see 'vidzip ask --help'"),
        (["ask", "{clip}", "What?", "--frames", "many"], "not a valid integer", "see 'vidzip ask --help'"),
        (["ask", "{clip}", "Is <video> a word?"], "'<video>'", ""),
        (
            ["ask", "{clip}", "What?", "--frames", "34", "--budget", "9000"],
            "8738 visual, ",
            "take fewer frames or tokens, or lower --max-new-tokens",
        ),
        (["ask", "{clip}"], "Missing argument 'QUESTION...'", "see 'vidzip ask --help'"),
        (["probe", "-gone.mp4"], "there is no file '-gone.mp4'", "check the path"),
        (["plan", "{clip}", "--frame", "9"], "No such option", "see 'vidzip plan --help'"),
        (["frobnicate"], "No such command", "see 'vidzip --help'"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(clip, tmp_path, capsys, *, arguments, says, hint):
    filled = [one.format(clip=clip, folder=tmp_path) for one in arguments]
    assert main(filled) == 2
    assert_refused(capsys, says, hint)


def test_without_a_command_the_help_is_shown(capsys):
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "ask " in capsys.readouterr().out


def test_a_traceback_is_shown_on_demand_only(capsys):
    assert main(["probe", "missing.mp4", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_is_130_without_a_traceback(clip, capsys, monkeypatch):
    def interrupted(*_):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(pipelines.commands.ask, "ask", interrupted)
    assert main(["ask", str(clip), "What?"]) == 130
    assert capsys.readouterr().err.strip() == "error: interrupted"


def test_a_fault_of_our_own_says_so(clip, capsys, monkeypatch):
    monkeypatch.setattr(pipelines.commands.ask, "ask", lambda *_: 1 / 0)
    assert main(["ask", str(clip), "What?"]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: ZeroDivisionError: division by zero"
    assert "--debug" in hint


def test_text_cannot_steer_the_terminal(tmp_path, clip, capsys):
    name = tmp_path / "evil\x1b[2J\x07.mp4"
    shutil.copy(clip, name)
    assert main(["probe", str(name)]) == 0
    assert main(["probe", str(name) + "\x1b]0;gone\x07"]) == 2
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "\x07" not in out + err


def test_names_and_questions_stay_as_they_were_written(clip, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-x.mp4", "-q.mp4"):
        shutil.copy(clip, name)
    assert main(["ask", "--max-new-tokens", "1", "--json", "-x.mp4", "--", "-q.mp4"]) == 0
    (answer,) = lines_of(capsys)
    assert (answer["video"], answer["question"]) == ("-x.mp4", "-q.mp4")


def test_tables_cut_nothing(clip, tmp_path):
    name = tmp_path / f"{'long' * 40}.mp4"
    shutil.copy(clip, name)
    assert str(name) in run("probe", str(name), cwd=tmp_path, COLUMNS="20").stdout


def test_what_the_system_refuses_is_no_fault_of_our_own(clip):
    refused = subprocess.run(
        ["/bin/sh", "-c", f"'{VIDZIP}' plan '{clip}' > /dev/full"], capture_output=True, check=False
    )
    assert refused.returncode == 1
    assert b"system error" in refused.stderr
    closed = subprocess.run(["/bin/sh", "-c", f"'{VIDZIP}' plan '{clip}' >&-"], capture_output=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_it_runs_as_a_module_too(clip):
    command = [sys.executable, "-P", "-m", "pipelines", "plan", str(clip)]
    assert "136 of 136 tokens" in subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_a_name_that_is_no_text_is_reported_all_the_same(tmp_path, clip, capsys):
    name = os.fsdecode(bytes(tmp_path) + b"/clip\xff.mp4")
    try:
        shutil.copy(clip, name)
    except OSError:
        pytest.skip("this file system takes names of valid text only")
    assert main(["probe", name]) == 0
    assert main(["probe", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["path"] == name


def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a process of its own."""
    return subprocess.run(
        [VIDZIP, *arguments],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["probe", "CLIP"], ["plan", "CLIP"], ["probe", "missing.mp4"]])
def test_what_needs_no_model_loads_none(clip, arguments):
    filled = [str(clip) if one == "CLIP" else one for one in arguments]
    code = (
        "import sys; from pipelines.cli import main; main(sys.argv[1:]); "
        "loaded = {'torch', 'transformers', 'tokenizers', 'huggingface_hub'} & set(sys.modules); "
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *filled], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_vidzip_loads_next_to_nothing():
    code = "import sys, vidzip; sys.exit(bool({'torch', 'transformers', 'av', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def strangers(tmp_path) -> Path:
    """A folder that holds other packages of our names."""
    for name in ("eval", "pipelines"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('a stranger was imported')")
    return tmp_path


def test_packages_of_our_names_in_the_folder_are_ignored_and_characters_escaped(strangers, clip):
    options = ("--frames", "2", "--max-new-tokens", "1")
    done = run("ask", str(clip), "What?", *options, cwd=strangers, PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert "514 \\u2192 136" in done.stdout  # an arrow that latin-1 lacks


@pytest.mark.parametrize("is_package", [True, False])
def test_a_package_that_hides_eval_is_named(tmp_path, is_package, monkeypatch):
    (tmp_path / "eval").mkdir()
    if is_package:
        (tmp_path / "eval" / "__init__.py").touch()
    done = run("--version", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    if not is_package:  # a folder without code hides nothing: Python takes the package behind it
        assert done.returncode == 0
        return
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()
    assert str(tmp_path / "eval") in error
    assert f"{tmp_path} " in hint


def test_processes_started_from_here_do_not_look_into_the_folder_first(strangers):
    code = (
        "import subprocess, sys; from pipelines.cli import main; main(['--version']); "
        "sys.exit(subprocess.run([sys.executable, '-c', 'import sys; sys.exit(\"\" in sys.path)']).returncode)"
    )
    started = subprocess.run([sys.executable, "-P", "-c", code], cwd=strangers, check=False, capture_output=True)
    assert started.returncode == 0, started.stderr


def test_a_reader_that_leaves_is_no_fault(clip):
    command = f"'{VIDZIP}' plan '{clip}' --frames 50 | true"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_the_demo_answers_better_from_packed_frames_and_keeps_its_video(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(vidzip, "load", partial(vidzip.load, device="cpu"))  # answers may differ between devices
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    table = [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in capsys.readouterr().out.splitlines()
    ]
    answers = [cells for cells in table if len(cells) == 4 and cells[0].endswith("?")]
    assert len(answers) == 3
    uncompressed, packed = (sum(cells[column] == cells[3] for cells in answers) for column in (1, 2))
    assert packed == 3 > uncompressed
    assert ["visual tokens", "2,056", "136"] in table
    first = (tmp_path / "clip.mp4").read_bytes()
    assert vidzip.probe("clip.mp4").num_frames == 248
    demo._write("clip.mp4", make_clip(demo.SPLIT, demo.SEED, demo.INDEX))  # as a second run does
    assert (tmp_path / "clip.mp4").read_bytes() == first


@pytest.mark.parametrize("name", ["other.mp4", "folder"])
def test_the_demo_overwrites_no_other_file(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr(demo, "write", lambda path, *_, **__: Path(path).write_bytes(b"a video"))
    (tmp_path / "other.mp4").write_bytes(b"mine")
    (tmp_path / "folder").mkdir()
    assert main(["demo", "--out", str(tmp_path / name)]) == 2
    assert_refused(capsys, name, "--out")
    assert (tmp_path / "other.mp4").read_bytes() == b"mine"
    assert sorted(os.listdir(tmp_path)) == ["folder", "other.mp4"]
