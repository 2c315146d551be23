from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import assert_refused

from eval.datasets import SETS, DatasetError
from pipelines.cli import main
from pipelines.data import CheckSettings, check_data, open_video
from pipelines.shapes import ShapesSettings, write_set
from vidzip.errors import BadArgument, NotAVideo


def quietly(_stage: str, _done: int, _total: int) -> None:
    """Show nothing."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A set of two videos and 14 questions; not to be changed."""
    folder = tmp_path_factory.mktemp("sets") / "finished"
    write_set(ShapesSettings(folder=str(folder), split="train", seed=18066, videos=2, workers=1), quietly)
    return folder


@pytest.fixture
def made(finished, tmp_path) -> Path:
    """A copy of the set that a test may change."""
    return shutil.copytree(finished, tmp_path / "set")


def run_check(folder: Path, *more: str) -> int:
    return main(["data", "check", "shapes", "--data", str(folder), "--videos", str(folder / "videos"), *more])


@pytest.fixture
def msvd(data, tmp_path) -> Path:
    """One real clip with its 26 questions."""
    return shutil.copytree(data / "msvd", tmp_path / "msvd")


def test_a_complete_set_is_clean(finished, capsys):
    assert run_check(finished) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[:4] == [
        "set        shapes, shapes, the synthetic set that vidzip writes",
        "questions  14   (14 declared)",
        "videos     2   (2 declared)",
        "opened     2 of 2, for 14 questions",
    ]
    assert out.splitlines()[-1] == "all 14 questions can be asked"
    assert err == ""


def test_lost_questions_give_exit_code_2_and_a_reason_per_video(made, capsys):
    first, second = sorted((made / "videos").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:300])
    assert run_check(made) == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "14 of 14 questions would be lost: their videos cannot be opened"
    assert "opened     0 of 2, for 14 questions" in out
    lines = err.splitlines()
    assert lines[0] == "warning: 1 video is missing"
    assert lines[1].startswith(f"warning: {first.stem} (7 questions): there is no file {first.stem}.* in ")
    assert lines[2] == "warning: 1 video cannot be opened"
    assert lines[3].startswith(f"warning: {second.stem} (7 questions): {str(second)!r}")


def test_json_has_every_place_of_every_problem(made, capsys):
    for video in (made / "videos").iterdir():
        video.write_bytes(b"")
    assert run_check(made, "--json") == 2
    out, err = capsys.readouterr()
    assert err == ""
    (data,) = [json.loads(line) for line in out.splitlines()]
    assert (data["schema"], data["name"], data["ok"], data["num_lost"]) == ("vidzip/data-check/1", "shapes", False, 14)
    assert data["found"] == data["expected"] == {"questions": 14, "videos": 2}
    assert all("is empty (0 bytes)" in one["message"] and Path(one["path"]).name for one in data["unreadable"])
    assert len(data["unreadable"]) == 2


def test_more_places_than_the_limit_are_counted(made, capsys):
    rows = json.loads((made / "test_a.json").read_text())
    (made / "test_a.json").write_text(json.dumps(rows[7:]))
    assert run_check(made) == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "the set is incomplete"
    assert "warning: 7 questions have no answer\n" in err
    assert "warning: and 2 more, which --json lists\n" in err


def test_a_subset_opens_its_own_videos_only(made, capsys):
    _, second = sorted((made / "videos").iterdir())
    second.unlink()
    assert run_check(made, "--subset", "first7") == 0
    assert "opened     1 of 1, for 7 questions" in capsys.readouterr().out
    assert run_check(made, "--subset", "first8") == 2


def test_a_subset_of_a_broken_set_is_checked(made, capsys):
    rows = json.loads((made / "test_q.json").read_text())
    (made / "test_q.json").write_text(json.dumps([None, *rows[1:]]))
    assert run_check(made, "--subset", "first14") == 2
    out, err = capsys.readouterr()
    assert "opened     2 of 2, for 13 questions" in out
    assert "test_q.json, row 0: " in err


def test_a_real_clip_is_opened_and_its_set_is_too_small(msvd, capsys):
    assert main(["data", "check", "msvd", "--data", str(msvd), "--videos", str(msvd), "--json"]) == 2
    data = json.loads(capsys.readouterr().out)
    assert (data["num_opened"], data["num_lost"], data["ok"]) == (1, 0, False)
    assert data["duration_seconds"] == pytest.approx(13.0, abs=0.5)
    assert (data["found"], data["expected"]) == (
        {"questions": 26, "videos": 1},
        {"questions": 13157, "videos": 504},
    )
    assert data["conflicting"] == 1


def test_the_mapping_next_to_the_questions_finds_videos_by_number(msvd, tmp_path):
    rows = [row for row in json.loads((msvd / "original_test_qa_300.json").read_text()) if row["video_id"] == 1451]
    questions, videos = tmp_path / "questions", tmp_path / "numbered"
    questions.mkdir()
    videos.mkdir()
    (questions / "test_qa.json").write_text(json.dumps(rows))
    shutil.copy(msvd / "youtube_mapping.txt", questions)
    shutil.copy(next((msvd / "videos").iterdir()), videos / "vid1451.mp4")
    report = check_data(CheckSettings(name="msvd", data=str(questions), videos=str(videos)), quietly)
    assert (report.num_opened, report.num_asked, report.num_lost) == (1, len(rows), 0)


def test_real_gifs_are_found_and_opened(data, tmp_path):
    shutil.copy(data / "tgif" / "Test_frameqa_question_one_gif.csv", tmp_path / "Test_frameqa_question.csv")
    report = check_data(CheckSettings(name="tgif-frameqa", data=str(tmp_path), videos=str(data / "tgif")), quietly)
    assert (report.num_opened, report.num_videos, report.num_asked, report.misnamed) == (1, 1, 5, ())


def test_a_gif_named_mp4_can_be_asked(msvd, data, capsys):
    (video,) = (msvd / "videos").iterdir()
    shutil.copy(data / "videos" / "frameqa_1.gif", video.with_suffix(".new"))
    video.with_suffix(".new").replace(video)
    assert main(["data", "check", "msvd", "--data", str(msvd), "--videos", str(msvd)]) == 2  # it is too small
    out, err = capsys.readouterr()
    assert "opened     1 of 1" in out
    assert "note: 1 video has the suffix of another format, but can be opened\n" in err
    assert "(26 questions): has the suffix of mp4, and the content of gif\n" in err


@pytest.mark.parametrize("name", ["gif.gif", "mp4-with-audio.mp4", "result.webm"])
def test_a_file_without_pictures_cannot_be_opened(msvd, data, name):
    (video,) = (msvd / "videos").iterdir()
    video.unlink()
    shutil.copy(data / "videos" / name, video.with_suffix(Path(name).suffix))
    report = check_data(CheckSettings(name="msvd", data=str(msvd), videos=str(msvd)), quietly)
    assert [one.num_questions for one in report.unreadable] == [26]


def test_a_video_is_really_opened(data):
    opened = open_video(str(data / "videos" / "no_duration.webm"))
    assert (opened.container, opened.duration_seconds) == ("matroska,webm", pytest.approx(4.94, abs=0.01))
    with pytest.raises(NotAVideo):
        open_video(str(data / "videos" / "result.webm"))


@pytest.mark.parametrize("workers", [1, 4])
def test_the_result_does_not_depend_on_workers(made, workers):
    next((made / "videos").iterdir()).write_bytes(b"no video")
    settings = CheckSettings(name="shapes", data=str(made), videos=str(made), workers=workers)
    report = check_data(settings, quietly)
    assert (report.num_opened, report.num_lost, len(report.unreadable)) == (1, 7, 1)


def test_progress_counts_the_videos(finished):
    seen: list[tuple[str, int, int]] = []
    settings = CheckSettings(name="shapes", data=str(finished), videos=str(finished), workers=1)
    check_data(settings, lambda *step: seen.append(step))
    assert seen == [("open videos", done, 2) for done in range(3)]


def test_links_out_of_the_folder_are_followed_on_demand(made, tmp_path, capsys):
    (made / "videos").rename(tmp_path / "elsewhere")
    (made / "videos").mkdir()
    for video in (tmp_path / "elsewhere").iterdir():
        (made / "videos" / video.name).symlink_to(video)
    assert run_check(made) == 2
    assert "--follow-links" in capsys.readouterr().err
    assert run_check(made, "--follow-links") == 0


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["check", "tgif", "--data", ".", "--videos", "."], "'tgif' is not one of 'tgif-frameqa'", "see 'vidzip data"),
        (["check", "msvd", "--videos", "."], "Missing option '--data'", "see 'vidzip data check --help'"),
        (["check", "msvd", "--data", "{set}/none", "--videos", "."], "none", "holds a question set"),
        (["check", "shapes", "--data", "{set}", "--videos", "{set}/none"], "none", "holds the videos"),
        (["check", "msvd", "--data", "{set}", "--videos", "."], "msvd", "give another folder"),
        (
            ["check", "shapes", "--data", "{set}", "--videos", "{set}", "--subset", "last5"],
            "'last5'",
            "such as first1000",
        ),
        (
            ["check", "shapes", "--data", "{set}", "--videos", "{set}", "--subset", "first15"],
            "first15 needs 15 questions, and there are 14",
            "use first14",
        ),
        (
            ["check", "shapes", "--data", "{set}", "--videos", "{set}", "--workers", "0"],
            "the number of workers is 0",
            "give 1 or more",
        ),
        (["where", "tgif"], "'tgif' is not one of", "see 'vidzip data where --help'"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(finished, capsys, arguments, message, hint):
    assert main(["data", *(one.format(set=finished) for one in arguments)]) == 2
    assert_refused(capsys, message, hint)


def test_bad_settings_are_refused(finished):
    with pytest.raises(DatasetError, match="none"):
        check_data(CheckSettings(name="msvd", data=str(finished / "none"), videos=str(finished)), quietly)
    with pytest.raises(BadArgument):
        CheckSettings(name="shapes", data=str(finished), videos=str(finished), workers=-1)


def test_where_names_every_source_and_its_terms(capsys):
    assert main(["data", "where", "activitynet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for text in (
        "https://github.com/MILVLG/activitynet-qa (dataset/)",
        "http://activity-net.org/download.html",
        "8,000 questions about 800 videos",
        "videos: v_NAME.mp4 or v_NAME.mkv or v_NAME.webm",
    ):
        assert text in out
    assert out.count("terms: ") == sum(
        len(part) for part in (SETS["activitynet"].questions, SETS["activitynet"].videos)
    )
    assert main(["data", "where"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if line} >= set(SETS)


def test_where_as_json_has_every_set(capsys):
    assert main(["data", "where", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "vidzip/data-where/1"
    assert list(data["sets"]) == list(SETS)
    assert data["sets"]["msvd"]["published"] == {"questions": 13157, "videos": 504}


def test_where_loads_neither_a_decoder_nor_a_model():
    code = (
        "import sys; from pipelines.commands.data import command; command(['where'], standalone_mode=False); "
        "loaded = {'torch', 'transformers', 'av', 'numpy'} & set(sys.modules); sys.exit(str(loaded) if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_text_of_a_set_cannot_steer_the_terminal(made, capsys):
    rows = json.loads((made / "test_q.json").read_text())
    rows[0]["video_name"] = "evil\x1b[2J\x07"
    (made / "test_q.json").write_text(json.dumps(rows))
    assert run_check(made) == 2
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert r"evil\x1b[2J\x07" in err
