from __future__ import annotations

import os
import shutil

import av
import numpy as np
import pytest
from clips import write_numbered, write_sound

from vidzip import VidzipError, decode, probe
from vidzip.errors import DecodeError, NotAVideo, NoVideoStream, VideoNotFound
from vidzip.video.probing import identify


def test_names_are_nothing_but_names(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:").mkdir()
    for name in ("-x.mp4", "--model.mp4", "a%d.mp4", "http:x.mp4", "concat:a|b", "http:/x.mp4", "filmé \U0001f3ac"):
        shutil.copy(clip, name)
        assert probe(name).num_frames == 50
        assert probe(name).identity == probe(clip).identity


def bad_files(folder, clip):
    """Write files that are no video, under a video's name, with the error and the words each must give."""
    whole = clip.read_bytes()
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    contents = {
        "empty.mp4": b"",
        "text.mp4": b"not a video\n" * 100,
        "noise.mp4": np.random.default_rng(0).bytes(50_000),
        "truncated.mp4": whole[: len(whole) // 2],
        "playlist.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{clip}\n#EXT-X-ENDLIST\n".encode(),
        "playlist.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{clip}\n#EXT-X-ENDLIST\n".encode(),
        "concat.mp4": f"ffconcat version 1.0\nfile '{clip}'\n".encode(),
        "beside.mp4": b"ffconcat version 1.0\nfile secret.mp4\n",
        "secret.mp4": whole,
        "session.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        "subtitles.mp4": b"1\n00:00:01,000 --> 00:00:02,000\nhello\n",
        "picture.mp4": picture_bytes(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def picture_bytes() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("missing.mp4", VideoNotFound, "there is no file"),
        ("https://example.com/a.mp4", VideoNotFound, "there is no file"),
        ("nul\0.mp4", VideoNotFound, "cannot be opened"),
        ("folder.mp4", NotAVideo, "is a folder"),
        ("pipe.mp4", NotAVideo, "not a regular file"),
        ("empty.mp4", NotAVideo, "is empty"),
        ("text.mp4", NotAVideo, "known container"),
        ("noise.mp4", NotAVideo, "known container"),
        ("truncated.mp4", NotAVideo, "known container"),
        ("playlist.mp4", NotAVideo, "playlists, scripts and image sequences are not opened"),
        ("playlist.m3u8", NotAVideo, "playlists, scripts and image sequences are not opened"),
        ("concat.mp4", NotAVideo, "playlists, scripts and image sequences are not opened"),
        ("beside.mp4", NotAVideo, "playlists, scripts and image sequences are not opened"),
        ("session.mp4", NotAVideo, "known container"),
        ("subtitles.mp4", NotAVideo, "known container"),
        ("picture.mp4", NotAVideo, "known container"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, clip, monkeypatch, *, name, error, says):
    bad_files(tmp_path, clip)
    monkeypatch.chdir(tmp_path)
    for use in (probe, lambda path: decode(path, [0.0])):
        with pytest.raises(error, match=says) as caught:
            use(name)
        assert caught.value.hint


@pytest.mark.parametrize(("size", "at"), [(100, 50), (7_000_000, 2_500_000), (40_000_000, 39_999_999)])
def test_an_identity_is_of_the_content(tmp_path, size, at):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(bytes(size))
    content = bytearray(size)
    assert identify(one) == identify(one)
    other.write_bytes(content)
    assert identify(one) == identify(other)
    content[at] = 1
    other.write_bytes(content)
    assert identify(one) != identify(other)
    other.write_bytes(bytes(size + 1))
    assert identify(one) != identify(other)


def test_sound_alone_is_no_video(tmp_path):
    with pytest.raises(NoVideoStream, match="only audio"):
        probe(write_sound(tmp_path / "sound.mp4"))


def test_a_cut_file_that_still_plays_carries_a_warning(tmp_path):
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    write_numbered(whole, num_frames=200, fps=25)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    info = probe(cut)
    assert 0 < info.num_frames < 200
    assert "promises 8.0 s" in info.warnings[0]
    assert probe(whole).warnings == ()


@pytest.mark.parametrize("share", [0.6, 0.9, 0.99])
def test_a_file_cut_short_behind_a_whole_header_is_said(tmp_path, share):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_numbered(whole, num_frames=100, fast_start=True)
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    # The header still promises 4 seconds.
    with pytest.raises(DecodeError, match=r"cut\.mp4") as caught:
        decode(cut, [0.0, 3.98])
    assert caught.value.hint


def test_real_bad_files(videos):
    for name, says in {
        "result.webm": "is empty",
        "gif.gif": "no frame in it",
        "mp4-with-audio.mp4": "holds no video stream",
    }.items():
        with pytest.raises(VidzipError, match=says):
            probe(videos / name)


def test_nothing_but_local_files_may_be_opened_beyond_the_file_itself(clip, monkeypatch):
    opened = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: opened.append((args, kwargs)) or real(*args, **kwargs))
    probe(clip)
    for args, kwargs in opened:
        assert not hasattr(args[0], "name")
        assert kwargs["container_options"]["protocol_whitelist"] == "file"
        assert not {"hls", "concat", "dash", "sdp", "image2"} & set(
            kwargs["container_options"]["format_whitelist"].split(",")
        )
    assert opened


def test_a_file_that_may_not_be_read_is_said(tmp_path, clip, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(VideoNotFound, match="Permission denied"):
        probe(clip)
