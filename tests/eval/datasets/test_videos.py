from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.datasets import SETS, BadVideoName, DatasetError, VideoMissing, list_videos
from eval.datasets.videos import expected_container

ACCENTED = "caf\N{LATIN SMALL LETTER E WITH ACUTE}"


@pytest.fixture
def touch(tmp_path):
    def touch(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return touch


@pytest.mark.parametrize(
    ("file", "video"),
    [
        ("-4wsuPCjDBc_5_15.avi", "-4wsuPCjDBc_5_15"),
        ("--help.mp4", "--help"),
        ("two words.webm", "two words"),
        ("video7010.MP4", "video7010"),
        ("a.b.mkv", "a.b"),
        ("赤い.gif", "赤い"),
        (unicodedata.normalize("NFD", ACCENTED) + ".mov", unicodedata.normalize("NFC", ACCENTED)),
        (unicodedata.normalize("NFC", ACCENTED) + ".mov", unicodedata.normalize("NFD", ACCENTED)),
        ("videos/video1.mp4", "video1"),
        ("videos/all/video1.mp4", "video1"),
        ("mp4/tumblr_a_250.mp4", "tumblr_a_250"),
        ("gifs/tumblr_a_250.gif", "tumblr_a_250"),
    ],
)
def test_a_video_is_found_by_its_name(touch, file, video):
    root = touch(file, "other.mp4")
    assert list_videos(root).find(video) == str(root / file)


def test_activitynets_files_have_a_prefix(touch):
    root = touch("all_test/v_--1DO2V4K74.mkv", "all_test/-0dgq0xkZpg.mp4")
    videos = list_videos(root, SETS["activitynet"])
    assert videos.find("--1DO2V4K74") == str(root / "all_test" / "v_--1DO2V4K74.mkv")
    assert videos.find("-0dgq0xkZpg") == str(root / "all_test" / "-0dgq0xkZpg.mp4")


def test_the_usual_one_of_several_files_comes_first(touch):
    root = touch("gifs/tumblr_a_250.gif", "mp4/tumblr_a_250.mp4")
    gif, mp4 = (str(root / name) for name in ("gifs/tumblr_a_250.gif", "mp4/tumblr_a_250.mp4"))
    assert list_videos(root, SETS["tgif-frameqa"]).find_all("tumblr_a_250") == (gif, mp4)
    assert list_videos(root, SETS["tgif-mixture"]).find_all("tumblr_a_250") == (mp4, gif)


@pytest.mark.parametrize("name", ["msvd", "vid"])
@pytest.mark.parametrize("place", ["questions", "videos", "."])
def test_msvds_videos_are_found_under_both_names(touch, place, name):
    root = touch("videos/-4wsuPCjDBc_5_15.avi" if name == "vid" else "videos/vid1.avi", "questions/x")
    (root / place / "youtube_mapping.txt").write_text("-4wsuPCjDBc_5_15 vid1\n")
    videos = list_videos(root / "videos", SETS["msvd"], annotations=root / "questions")
    paths = {Path(videos.find(video)).name for video in ("vid1", "-4wsuPCjDBc_5_15")}
    assert len(paths) == 1
    assert videos.unused(["vid1"]) == videos.unused(["-4wsuPCjDBc_5_15"]) == []


@pytest.mark.parametrize(
    "video", ["", ".", "..", "../secret", "/etc/passwd", "a/b", "a\\b", "..\\secret", "secret\0", "videos/../../secret"]
)
def test_no_name_leads_out_of_the_folder(touch, video):
    root = touch("secret.mp4", "in/a/b.mp4")
    with pytest.raises(BadVideoName, match="not a video"):
        list_videos(root / "in").find(video)


@given(st.text() | st.lists(st.sampled_from(["..", ".", "/", "a", "\\", "secret"])).map("".join))
def test_law_a_name_is_refused_or_is_that_of_a_file_in_the_folder(tmp_path_factory, video):
    root = tmp_path_factory.mktemp("videos")
    for name in ("secret.mp4", "in/a.mp4", "in/..a.mp4"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    videos = list_videos(root / "in")
    try:
        assert Path(videos.find(video)).resolve().parent == (root / "in").resolve()
        assert video in {"a", "..a"}
    except (BadVideoName, VideoMissing):
        assert video not in {"a", "..a"}


def test_a_missing_video_is_named_with_its_file(touch):
    videos = list_videos(touch("here.mp4"), SETS["activitynet"])
    with pytest.raises(VideoMissing, match=r"v_gone\.\*"):
        videos.find("gone")


def test_a_file_with_another_suffix_is_not_used(touch):
    videos = list_videos(touch("a.mp4.part", "b.flv"))
    with pytest.raises(VideoMissing, match=r"b\.flv"):
        videos.find("b")
    with pytest.raises(VideoMissing):
        videos.find("a")


def test_links_out_of_the_folder_are_used_only_if_allowed(touch):
    root = touch("outside.mp4", "in/own.mp4", "far/deep.mp4")
    folder = root / "in"
    (folder / "out.mp4").symlink_to(root / "outside.mp4")
    (folder / "beside.mp4").symlink_to("own.mp4")
    (folder / "videos").symlink_to(root / "far")
    (folder / "broken.mp4").symlink_to(root / "nothing.mp4")
    strict, free = list_videos(folder), list_videos(folder, follow_links=True)
    for videos in (strict, free):
        assert videos.find("beside") == str(folder / "beside.mp4")
        with pytest.raises(VideoMissing):
            videos.find("broken")
    for name, path in (("out", "out.mp4"), ("deep", "videos/deep.mp4")):
        assert free.find(name) == str(folder / path)
        with pytest.raises(VideoMissing, match=rf"{path}.*--follow-links"):
            strict.find(name)
    (root / "link").symlink_to(folder)  # the folder itself may be one
    assert list_videos(root / "link").find("own") == str(root / "link" / "own.mp4")


def test_the_folder_is_listed_once(touch, monkeypatch):
    root = touch(*(f"{number}.mp4" for number in range(50)))
    calls: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: calls.append(path) or scandir(path))
    videos = list_videos(root)
    assert calls == [str(root)]
    shutil.rmtree(root)
    assert videos.find("7") == str(root / "7.mp4")


def test_unused_files_are_listed(touch):
    root = touch("used.mp4", "gone.webm", "notes.txt", "._used.mp4", "videos/gone.mp4")
    (root / "folder.mp4").mkdir()
    unused = list_videos(root).unused(["used", "missing"])
    assert unused == [str(root / "gone.webm"), str(root / "videos" / "gone.mp4")]


def test_a_missing_folder_is_refused(touch):
    with pytest.raises(DatasetError, match=r"file\.mp4"):
        list_videos(touch("file.mp4") / "file.mp4")


@pytest.mark.parametrize(
    ("path", "container", "expected"),
    [
        ("a.mp4", "mov,mp4,m4a,3gp,3g2,mj2", None),
        ("a.MOV", "mov,mp4,m4a,3gp,3g2,mj2", None),
        ("a.mkv", "matroska,webm", None),
        ("a.mp4", "gif", "mp4"),
        ("a.webm", "mov,mp4,m4a,3gp,3g2,mj2", "webm"),
        ("a.gif", "gif", None),
        ("a.flv", "gif", None),
    ],
)
def test_the_container_must_fit_the_suffix(path, container, expected):
    assert expected_container(path, container) == expected
