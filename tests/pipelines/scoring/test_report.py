from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil

import pytest
from questions import write_set
from reports import HOSTILE, Text

from eval.judging import Judge, Reply, open_replies
from pipelines.cli import main
from pipelines.scoring.example_frames import take_evenly

MODEL = ["--model", "tiny-random", "--device", "cpu", "--max-new-tokens", "3", "--processes", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set") / "set", videos=2, questions=2)


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    return tmp_path_factory.mktemp("packs")


@pytest.fixture(scope="module")
def runs(folder, packs, tmp_path_factory):
    """Folders of runs at 4 and at 2 frames, and of one without the videos."""
    made = tmp_path_factory.mktemp("runs")
    for name, options in (
        ("four", ["--frames", "4", "--pack-cache", str(packs)]),
        ("two", ["--frames", "2", "--budget", "136"]),
        ("no-video", ["--no-video"]),
    ):
        assert main(["eval", "shapes", "--data", str(folder), "--out", str(made / name), *MODEL, *options]) == 0
    return made


def report(out, *arguments):
    return main(["report", *map(str, arguments), "-o", str(out)])


def elements(page, name, kind):
    return [
        attributes for tag, attributes in Text(page.read_text()).tags
        if tag == name and kind in (attributes.get("class") or "").split()
    ]  # fmt: skip


def rows(folder):
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def copied(runs, tmp_path, change, name="four"):
    """A copy of a run, its lines changed."""
    there = tmp_path / name
    shutil.copytree(runs / name, there)
    (there / "answers.jsonl").write_text("".join(json.dumps(change(row)) + "\n" for row in rows(there)))
    return there


def test_runs_are_reported_side_by_side(runs, folder, packs, tmp_path, capsys):
    out = tmp_path / "report.html"
    files = ["--json", tmp_path / "report.json", "--markdown", tmp_path / "report.md"]
    ends = ["--uncompressed", runs / "four", "--no-video", runs / "no-video"]
    assert (
        report(out, runs / "four", runs / "two", runs / "no-video", "--videos", folder, "--packs", packs, *files, *ends)
        == 0
    )
    printed = capsys.readouterr()
    assert f"{out} holds 3 runs on 1 question set" in printed.out
    assert "note: 2 examples' videos: " in printed.err  # the run at 2 frames kept no packs
    data = json.loads((tmp_path / "report.json").read_text())
    assert [run["name"] for run in data["sets"][0]["runs"]] == ["four", "two", "no-video"]
    assert len(data["sets"][0]["retentions"]) == 3
    assert "| four | tiny-random | 4 | 136 |" in (tmp_path / "report.md").read_text()
    pictures = [one for tag, one in Text(out.read_text()).tags if tag == "image"]
    assert len({one["href"] for one in pictures}) == len(pictures) > 2
    assert all(one["href"].startswith("data:image/jpeg;base64,/9j/") for one in pictures)
    assert len(elements(out, "svg", "frame")) == 12  # of each of the two videos, 4 of one run, 2 of the other
    assert len(elements(out, "path", "kept")) == len(elements(out, "path", "unseen")) == 8


def test_the_drawn_patches_are_those_of_the_pack(runs, folder, packs, tmp_path):
    from eval.reporting import choose_examples, make_chapters, map_patches, score_run
    from pipelines.scoring.example_frames import find_input_frames
    from pipelines.scoring.loading import load_run
    from vidzip import PackedVideo

    (chapter,) = make_chapters([score_run(load_run(str(runs / "four")))])
    chapter = type(chapter)(set_name=chapter.set_name, runs=chapter.runs, examples=choose_examples(chapter.runs, 9))
    selections = find_input_frames(chapter, str(folder), str(packs), lambda *_: None)
    of_identity = {packed.plan.video_identity: packed for packed in map(PackedVideo.load, packs.rglob("*.vidzip"))}
    assert len(selections) == 4
    for result in chapter.runs[0].run.results:
        packed = of_identity[result.trace["plan"]["video_identity"]]
        frames = selections[0, result.question_id].frames
        assert [frame.num_tokens for frame in frames] == list(packed.tokens_per_frame)
        for number, frame in enumerate(frames):
            of_frame = {
                token: packed.provenance(token).anchor
                for token in range(packed.num_tokens)
                if packed.provenance(token).frame == number
            }
            assert frame.patches == map_patches(
                packed.source_of(number).tolist(), of_frame, grid=(16, 16), has_cls=True
            )
            assert len(frame.patches.kept) + len(frame.patches.merged) + 1 == frame.num_tokens
            assert (frame.picture.width, frame.picture.height) != (0, 0)


def test_without_videos_there_is_a_timeline(runs, tmp_path, capsys):
    out = tmp_path / "report.html"
    assert report(out, runs / "four") == 0
    assert len(elements(out, "svg", "timeline")) == 2
    assert "data:image" not in out.read_text()
    assert capsys.readouterr().err == ""


def test_a_missing_or_different_video_is_noted(runs, folder, tmp_path, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(folder / "videos" / "clip0.mp4", videos / "clip1.mp4")
    out = tmp_path / "report.html"
    assert report(out, runs / "four", "--videos", videos) == 0
    err = capsys.readouterr().err
    assert "its frames cannot be shown: " in err
    assert "clip1.mp4 is not the run's video" in err
    assert len(elements(out, "svg", "timeline")) == 2
    (videos / "clip0.mp4").write_bytes(b"nonsense")
    assert report(out, runs / "four", "--videos", videos) == 0
    assert "clip0.mp4 is not the run's video" in capsys.readouterr().err


def test_a_file_that_cannot_be_decoded_is_noted(runs, tmp_path, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "clip0.mp4").write_bytes(b"nonsense")
    unknown = copied(runs, tmp_path, lambda row: row | {"plan": row["plan"] | {"video_identity": None}})
    assert report(tmp_path / "report.html", unknown, "--videos", videos) == 0
    assert "its frames cannot be shown: " in capsys.readouterr().err


def test_damaged_packs_are_ignored(runs, packs, tmp_path, capsys):
    broken = tmp_path / "packs"
    shutil.copytree(packs, broken)
    for path in broken.rglob("*.vidzip"):
        path.write_bytes(path.read_bytes()[:-1])
    assert report(tmp_path / "report.html", runs / "four", "--packs", broken) == 0
    assert f"{broken} holds no packed video" in capsys.readouterr().err


def test_items_are_taken_evenly():
    assert take_evenly(range(10), 40) == list(range(10))
    assert take_evenly(range(10), 5) == [1, 3, 5, 7, 9]
    assert take_evenly(range(136), 40)[:3] == [1, 5, 8]
    assert len(set(take_evenly(range(41), 40))) == 40


def test_kept_replies_of_a_judge_are_used(runs, tmp_path, capsys):
    judged = copied(runs, tmp_path, lambda row: row)
    names = ("judge-1", "judge-2")
    for name in names:
        with open_replies(str(judged / "judge.jsonl")) as replies:
            for row in rows(judged)[:3]:
                reply = Reply(text='{"pred": "yes", "score": 4}', model=name, finish="stop", at="2026-01-01T00:00:00Z")
                replies.add(Judge(model=name), row["question"], row["answer"], row["prediction"], reply)
        if name == names[0]:
            assert report(tmp_path / "report.html", judged, "--json", tmp_path / "report.json") == 0
    (data,) = json.loads((tmp_path / "report.json").read_text())["sets"][0]["runs"]
    assert data["judge"]["model"] == "judge-1"
    (of_all,) = [one for one in data["scores"] if (one["metric"], one["group"]) == ("judge accuracy", "all")]
    assert of_all["num_scored"] + of_all["num_unjudged"] == 4
    assert of_all["published"]["value"] == 1
    capsys.readouterr()
    assert report(tmp_path / "report.html", judged) == 2
    assert "judge-2" in capsys.readouterr().err
    assert report(tmp_path / "report.html", judged, "--judge", "judge-2") == 0
    assert (
        report(tmp_path / "report.html", runs / "four", "--judge-replay", judged / "judge.jsonl", "--judge", "judge-1")
        == 0
    )
    assert report(tmp_path / "report.html", runs / "four", "--judge", "judge-1") == 2
    assert "judge.jsonl" in capsys.readouterr().err


def test_an_unfinished_run_is_refused_unless_allowed(runs, tmp_path, capsys):
    there = copied(runs, tmp_path, lambda row: row)
    lines = (there / "answers.jsonl").read_text().splitlines(keepends=True)
    (there / "answers.jsonl").write_text("".join(lines[:-1]))
    assert report(tmp_path / "report.html", there) == 2
    assert "'four' is not finished: 1 of 4 " in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()
    assert report(tmp_path / "report.html", there, "--unfinished") == 0
    assert "warning: four: the run is not finished" in capsys.readouterr().err


def test_runs_of_the_same_name_are_named_by_their_paths(runs, tmp_path):
    other = copied(runs, tmp_path, lambda row: row)
    assert (
        report(tmp_path / "report.html", runs / "four", other, runs / "four", "--json", tmp_path / "report.json") == 0
    )
    data = json.loads((tmp_path / "report.json").read_text())["sets"][0]["runs"]
    assert [run["name"] for run in data] == [str(runs / "four"), str(other)]


def test_runs_that_cannot_be_compared_get_a_warning(runs, tmp_path, capsys):
    other = copied(runs, tmp_path, lambda row: row | {"question": "Another?"}, name="two")
    assert report(tmp_path / "report.html", runs / "four", other) == 0
    assert "warning: two is not compared: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--videos", "nowhere"], "nowhere"),
        (["--packs", "nowhere"], "'nowhere'"),
        (["--json", "report.html"], "two of the files to write"),
        (["--json", "a.json", "--markdown", "./a.json"], "two of the files to write"),
        (["--uncompressed", "four", "--uncompressed", "two", "--no-video", "no-video"], "'four' and 'two' are both "),
        (["--examples", "-1"], "--examples"),
        (["nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(runs, tmp_path, capsys, options, message):
    for name in ("four", "two", "no-video"):
        (tmp_path / name).symlink_to(runs / name)
    with contextlib.chdir(tmp_path):
        assert report("report.html", "four", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_frames_need_pillow(runs, folder, tmp_path, monkeypatch, capsys):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        "pipelines.scoring.example_frames.find_spec", lambda name: None if name == "PIL" else there(name)
    )
    assert report(tmp_path / "report.html", runs / "four", "--videos", folder) == 2
    assert "pip install 'vidzip[report]'" in capsys.readouterr().err


@pytest.mark.parametrize("plan", ["nonsense", {}, {"timestamps_seconds": [-1], "tokens_per_frame": [1], "method": "m"}])
def test_a_malformed_plan_is_noted(runs, folder, tmp_path, capsys, plan):
    there = copied(runs, tmp_path, lambda row: row | {"plan": plan})
    assert report(tmp_path / "report.html", there, "--videos", folder, "--packs", tmp_path) == 0
    assert "the plan cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_text_does_nothing_in_the_terminal(runs, tmp_path, capsys, name):
    text = HOSTILE[name]
    there = copied(
        runs, tmp_path, lambda row: row | {"question": text, "prediction": text, "answer": text, "kind": text}
    )
    assert report(tmp_path / "report.html", there, runs / "two", "--title", text[:1000].replace("\0", "")) == 0
    printed = capsys.readouterr()
    assert all(char.isprintable() or char in "\n\t" for char in printed.out + printed.err)
    assert len(printed.err) < 2_000
    assert (tmp_path / "report.html").stat().st_size < 200_000
