from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from refusals import assert_refused

import pipelines.shapes
import pipelines.workers
from eval.datasets import load
from eval.shapes import KINDS, FrozenSplit, frames_digest, frozen_splits, make_clip, questions_digest
from pipelines.cli import main
from pipelines.shapes import ShapesSettings, write_set
from pipelines.terminal import format_clock
from vidzip import decode, probe, sample
from vidzip.files import lock_folder

SEED = 18066
"""Its first training videos are short: 49, 41, 36 and 41 frames."""

MIXED_SEED = 5046
"""Here they have 46, 46, 34 and 654 frames."""

THREE = ("--split", "train", "--seed", str(SEED), "--videos", "3", "--workers", "1")


def quietly(_stage: str, _done: int, _total: int) -> None:
    """Show nothing."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A set of three videos; not to be changed."""
    folder = tmp_path_factory.mktemp("sets") / "finished"
    write_set(ShapesSettings(folder=str(folder), split="train", seed=SEED, videos=3, workers=1), quietly)
    return folder


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    """A copy of the set that a test may change."""
    return shutil.copytree(finished, tmp_path / "set")


@pytest.fixture(scope="module")
def clips():
    return [make_clip("train", SEED, index) for index in range(3)]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def moments(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_command_writes_a_set(tmp_path, finished, capsys):
    out = tmp_path / "new" / "set"
    assert main(["shapes", str(out), *THREE]) == 0
    printed, err = capsys.readouterr()
    size = sum(path.stat().st_size for path in (out / "videos").iterdir())
    duration = sum(make_clip("train", SEED, index).scene.duration_seconds for index in range(3))
    assert printed.splitlines() == [
        "videos     3   (3 written now)",
        "questions  21",
        f"duration   {format_clock(duration)}",
        f"size       {size / 1e6:.1f} MB",
        f"frames     not compared: split train with seed {SEED} is not frozen",
    ]
    assert err == ""
    assert content(out) == content(finished)


def test_the_set_is_read_as_video_llavas_are(finished, clips):
    samples = load(finished)
    asked = [(clip, number, question) for clip in clips for number, question in enumerate(clip.questions)]
    assert len(samples) == len(asked) == 21
    for one, (clip, number, question) in zip(samples, asked, strict=True):
        assert one.id == f"v_{clip.name}_{number}"
        assert (one.video, one.question, one.answer, one.kind) == (
            clip.name,
            question.text,
            question.answer,
            question.kind,
        )
    assert {path.stem for path in (finished / "videos").iterdir()} == {one.video for one in samples}


def test_the_answers_have_more_fields_than_the_layout_needs(finished, clips):
    rows = json.loads((finished / "test_a.json").read_text())
    questions = [(clip, question) for clip in clips for question in clip.questions]
    for row, (clip, question) in zip(rows, questions, strict=True):
        assert (row["kind"], row["form"], row["num_choices"]) == (question.kind, question.form, question.num_choices)
        assert row["seconds"] == question.seconds(clip.scene)
        assert all(0 <= start < end <= clip.scene.duration_seconds + 1e-3 for start, end in row["seconds"])


def test_the_set_describes_itself(finished):
    described = json.loads((finished / "shapes.json").read_text())
    assert described == {
        "schema": "vidzip/shapes/1",
        "version": 1,
        "split": "train",
        "seed": SEED,
        "num_videos": 3,
        "num_questions": 21,
        "kinds": list(KINDS),
        "shares": dict.fromkeys(KINDS, "1/7"),
        "codec": {"container": "mp4", "codec": "h264", "pixel_format": "yuv420p", "crf": 28, "preset": "veryfast"},
    }


def test_videos_hold_the_frames_that_were_drawn(finished, clips):
    for clip in clips:
        path = finished / "videos" / f"{clip.name}.mp4"
        scene, info = clip.scene, probe(path)
        assert (info.num_frames, info.width, info.height) == (scene.num_frames, scene.width, scene.height)
        assert (info.codec, info.fps) == ("h264", pytest.approx(scene.fps))
        assert info.duration_seconds == pytest.approx(scene.duration_seconds, abs=1e-3)
        decoded = decode(path, sample(info, scene.num_frames)).pixels.permute(0, 2, 3, 1).numpy()
        for number, drawn in enumerate(clip.renderer.render_all()):
            loss = np.abs(decoded[number].astype(int) - drawn).mean()
            assert loss < 10  # of 255, most of it the grain
        for flash in scene.flashes:  # flashes start and end in the right frame
            side = min(scene.width, scene.height)
            x, y = flash.centre(flash.first_frame)
            across = int(x * side + (scene.width - side) / 2)
            down = int((y + (0.8 if flash.shape == "ring" else 0) * flash.radius) * side + (scene.height - side) / 2)
            before, during, last, after = (
                decoded[frame, down - 1 : down + 2, across - 1 : across + 2].reshape(-1, 3).mean(axis=0)
                for frame in (flash.first_frame - 1, flash.first_frame, flash.end_frame - 1, flash.end_frame)
            )
            assert np.abs(during - before).max() > 3 * np.abs(last - during).max()
            assert np.abs(last - after).max() > 3 * np.abs(last - during).max()


def test_worker_processes_write_the_same_bytes(tmp_path, finished):
    settings = ShapesSettings(folder=str(tmp_path / "set"), split="train", seed=SEED, videos=3, workers=2)
    assert write_set(settings, quietly).num_written == 3
    assert content(tmp_path / "set") == content(finished)


def test_an_interrupted_set_is_resumed(folder, finished, capsys):
    videos = folder / "videos"
    gone = videos / f"train_{SEED}_00001.mp4"
    gone.unlink()
    (folder / "test_a.json").unlink()
    (videos / f".{gone.name}.0123abcd.part").write_bytes(b"half a video")
    (videos / f".train_{SEED}_00099.mp4.0123abcd.part").write_bytes(b"")
    before = moments(videos)
    assert main(["shapes", str(folder), *THREE]) == 0
    assert "videos     3   (1 written now)" in capsys.readouterr().out
    assert content(folder) == content(finished)
    assert {name: at for name, at in moments(videos).items() if name != gone.name} == {
        name: at for name, at in before.items() if not name.endswith(".part")
    }


def test_a_complete_set_is_not_touched(folder, capsys):
    before = moments(folder)
    assert main(["shapes", str(folder), *THREE]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"{folder} holds this set already: no video was missing"
    assert out[1] == "videos     3   (0 written now)"
    assert moments(folder) == before


def test_more_videos_extend_a_set(folder, finished):
    before = moments(folder / "videos")
    made = write_set(ShapesSettings(folder=str(folder), split="train", seed=SEED, videos=4, workers=1), quietly)
    assert (made.num_videos, made.num_written, made.num_questions) == (4, 1, 28)
    assert before.items() <= moments(folder / "videos").items()
    samples = load(folder)
    assert samples[:21] == load(finished)
    assert {one.video for one in samples[21:]} == {f"train_{SEED}_00003"}
    assert json.loads((folder / "shapes.json").read_text())["num_videos"] == 4


def test_progress_counts_videos(tmp_path, folder):
    (folder / "videos" / f"train_{SEED}_00000.mp4").unlink()
    seen = []
    settings = ShapesSettings(folder=str(folder), split="train", seed=SEED, videos=3, workers=1)
    write_set(settings, lambda *shown: seen.append(shown))
    assert [shown for shown in seen if shown[0] == "write videos"] == [("write videos", 2, 3), ("write videos", 3, 3)]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--videos", "2"], "3 videos, more than 2", "--videos 3 or more"),
        (["--seed", "8"], f"another set: seed {SEED}, not seed 8", f"or --seed {SEED} to resume"),
        (["--split", "test"], "another set: split 'train', not split 'test'", "or --split train to resume"),
        (
            ["--split", "long", "--seed", "1"],
            f"split 'train', seed {SEED}, not split 'long', seed 1",
            f"or --split train --seed {SEED} to resume",
        ),
    ],
)
def test_another_set_is_never_overwritten(folder, capsys, *, arguments, message, hint):
    before = content(folder)
    assert main(["shapes", str(folder), *THREE, *arguments]) == 2
    assert_refused(capsys, message, hint)
    assert content(folder) == before


@pytest.mark.parametrize(
    ("name", "text", "message", "hint"),
    [
        ("shapes.json", {"version": 0}, "another set: version 0, not version 1", "give another folder"),
        ("shapes.json", {"codec": "av1"}, "another set: codec 'av1'", "give another folder"),
        ("shapes.json", {"num_videos": "3"}, "shapes.json", "a new or an empty folder"),
        ("shapes.json", "[]", "shapes.json", "a new or an empty folder"),
        ("shapes.json", '{"schema": ', "shapes.json", "a new or an empty folder"),
        ("thesis.tex", "precious", "'thesis.tex'", "a new or an empty"),
    ],
)
def test_a_folder_with_other_content_is_not_changed(finished, tmp_path, capsys, *, name, text, message, hint):
    out = tmp_path / "out"
    out.mkdir()
    if isinstance(text, dict):
        text = json.dumps({**json.loads((finished / "shapes.json").read_text()), **text})
    (out / name).write_text(text)
    assert main(["shapes", str(out), *THREE]) == 2
    assert_refused(capsys, message, hint)
    assert content(out) == {name: text.encode()}


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--videos", "0"], "the number of videos is 0", "give 1 or more"),
        (["--videos", "-4"], "the number of videos is -4", "give 1 or more"),
        (["--videos", "all"], "'all' is not a valid integer", "see 'vidzip shapes --help'"),
        (["--seed", "-1"], "the seed is -1", "give 0 or more"),
        (["--split", "dev"], "'dev'", "use one of train, validation, test, long"),
        (["--workers", "0"], "the number of workers is 0", "give 1 or more"),
    ],
)
def test_bad_input_makes_no_folder(tmp_path, capsys, *, arguments, message, hint):
    assert main(["shapes", str(tmp_path / "out"), *arguments]) == 2
    assert_refused(capsys, message, hint)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_a_folder(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("precious")
    assert main(["shapes", str(file), *THREE]) == 2
    assert_refused(capsys, f"{str(file)!r}", "new or empty")
    assert main(["shapes", str(file / "below"), *THREE]) == 2
    assert_refused(capsys, f"{str(file / 'below')!r} cannot be written", "check the folder")
    assert file.read_text() == "precious"


def test_a_folder_that_cannot_be_written_is_reported(tmp_path, capsys):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):  # a privileged user cannot write to /proc
        closed = Path("/proc")
        if not closed.is_dir():
            pytest.skip("this user may write everywhere")
    assert main(["shapes", str(closed / "set"), *THREE]) == 2
    assert_refused(capsys, f"{str(closed / 'set')!r} cannot be written", "check the folder and its permissions")


def test_a_second_run_at_the_same_time_is_refused(folder, capsys):
    with lock_folder(str(folder)):  # as the first run does
        assert main(["shapes", str(folder), *THREE]) == 2
    assert_refused(capsys, str(folder), "wait")


def test_default_numbers_of_videos():
    def number(split, videos=None):
        return ShapesSettings(folder="", split=split, videos=videos).num_videos

    assert {split: number(split) for split in ("train", "validation", "test", "long")} == {
        "train": 200,
        "validation": 100,
        "test": 220,
        "long": 10,
    }
    assert number("long", 2) == 2


@pytest.fixture
def freeze(monkeypatch, clips):
    """Freeze the first two of the three videos, with changes."""

    def freeze(**changes):
        frozen = FrozenSplit(
            seed=SEED,
            questions_sha256=questions_digest(clips[:2]),
            frames_sha256=tuple(frames_digest(clip) for clip in clips[:2]),
        )
        splits = {**frozen_splits(), "train": replace(frozen, **changes)}
        monkeypatch.setattr(pipelines.shapes, "frozen_splits", lambda: splits)

    return freeze


def test_frozen_videos_are_compared(tmp_path, capsys, freeze):
    freeze()
    assert main(["shapes", str(tmp_path), *THREE]) == 0
    assert (
        "frames     equal to the frozen set's in its 2 videos; the others are not frozen\n" in capsys.readouterr().out
    )
    assert main(["shapes", str(tmp_path / "videos" / "inner"), *THREE, "--videos", "1"]) == 0
    assert "frames     equal to the frozen set's in all 1 videos\n" in capsys.readouterr().out


@pytest.mark.parametrize("workers", ["1", "2"])
def test_other_frames_than_the_frozen_ones_are_refused(tmp_path, capsys, freeze, clips, workers):
    freeze(frames_sha256=(frames_digest(clips[0]), "0" * 64))
    assert main(["shapes", str(tmp_path), *THREE, "--workers", workers]) == 1
    assert_refused(capsys, f"train_{SEED}_00001", "numpy")
    names = {path.name for path in (tmp_path / "videos").iterdir()}
    assert names <= {f"train_{SEED}_00000.mp4", f"train_{SEED}_00002.mp4"}
    assert not (tmp_path / "test_q.json").exists()


def test_other_questions_than_the_frozen_ones_are_refused(tmp_path, capsys, freeze):
    freeze(questions_sha256="0" * 64)
    assert main(["shapes", str(tmp_path), *THREE]) == 1
    assert_refused(capsys, "frozen split train", "numpy")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_complete_videos(tmp_path, finished, capsys, monkeypatch):
    real, calls = pipelines.workers.check_stopped, []

    def interrupted() -> None:
        calls.append(None)
        if len(calls) == 60:  # in the middle of the second video
            signal.raise_signal(signal.SIGINT)
        real()

    monkeypatch.setattr(pipelines.workers, "check_stopped", interrupted)
    assert main(["shapes", str(tmp_path), *THREE]) == 130
    note, *_, error = capsys.readouterr().err.splitlines()
    assert note.startswith("note: ")
    assert error == "error: interrupted"
    assert set(content(tmp_path)) == {"shapes.json", f"videos/train_{SEED}_00000.mp4"}
    assert main(["shapes", str(tmp_path), *THREE]) == 0
    assert "(2 written now)" in capsys.readouterr().out
    assert content(tmp_path) == content(finished)


def started(out: Path) -> subprocess.Popen[str]:
    """Start a run of two processes, and wait for the first video; the last is ten times as long."""
    arguments = ["--split", "train", "--seed", str(MIXED_SEED), "--videos", "4", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "pipelines", "shapes", str(out), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while not list(out.glob("videos/*.mp4")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    return process


def test_control_c_ends_every_process(tmp_path):
    process = started(tmp_path / "set")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers, too
    out, err = process.communicate(timeout=60)  # ends when the last process that could write has ended
    assert process.returncode == 130, err
    assert out == ""
    assert [line for line in err.splitlines() if line] == [
        "note: finished videos are kept: the same command resumes",
        "error: interrupted",
    ]
    names = {path.name for path in (tmp_path / "set").rglob("*") if path.is_file()}
    assert "shapes.json" in names
    assert names < {"shapes.json", *(f"train_{MIXED_SEED}_{index:05d}.mp4" for index in range(4))}


def test_no_process_outlives_the_one_that_started_it(tmp_path):
    process = started(tmp_path / "set")
    process.kill()
    process.communicate(timeout=60)
    assert not (tmp_path / "set" / "test_q.json").exists()


@pytest.mark.parametrize(("room", "workers", "kept"), [(20_000, 2, {0, 1, 2}), (100, 1, set())])
def test_a_full_disk_is_reported_and_leaves_complete_files(tmp_path, room, workers, kept):
    """A limit on the size of files acts like a full disk."""
    code = (
        "import resource, sys; from pipelines.cli import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room})); sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["--split", "train", "--seed", str(MIXED_SEED), "--videos", "4", "--workers", str(workers)]
    done = subprocess.run(
        [sys.executable, "-c", code, "shapes", str(tmp_path), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    error, hint = done.stderr.splitlines()
    there = {path.name for path in tmp_path.rglob("*.mp4")}
    assert f"{str(tmp_path)!r}: {len(there)} of 4 videos" in error
    assert hint.startswith("hint: ")
    assert there <= {f"train_{MIXED_SEED}_{index:05d}.mp4" for index in kept}
    assert not list(tmp_path.rglob("*.part"))
    assert all(probe(path).num_frames in (46, 34) for path in tmp_path.rglob("*.mp4"))
