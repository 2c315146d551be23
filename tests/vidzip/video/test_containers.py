from __future__ import annotations

import os

import av
import numpy as np
import pytest
from clips import write_numbered, write_sound

from vidzip import decode, probe
from vidzip.errors import NotAVideo, NoVideoStream, VideoNotFound
from vidzip.video.probing import identify


def bad_files(folder, clip):
    """Write files that are no video, with a video's name."""
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
    ("name", "error"),
    [
        ("missing.mp4", VideoNotFound),
        ("https://example.com/a.mp4", VideoNotFound),
        ("nul\0.mp4", VideoNotFound),
        ("folder.mp4", NotAVideo),
        ("pipe.mp4", NotAVideo),
        ("empty.mp4", NotAVideo),
        ("text.mp4", NotAVideo),
        ("noise.mp4", NotAVideo),
        ("truncated.mp4", NotAVideo),
        ("playlist.mp4", NotAVideo),
        ("playlist.m3u8", NotAVideo),
        ("concat.mp4", NotAVideo),
        ("beside.mp4", NotAVideo),
        ("session.mp4", NotAVideo),
        ("subtitles.mp4", NotAVideo),
        ("picture.mp4", NotAVideo),
    ],
)
def test_files_that_are_no_video_are_refused(tmp_path, clip, monkeypatch, name, error):
    bad_files(tmp_path, clip)
    monkeypatch.chdir(tmp_path)
    for use in (probe, lambda path: decode(path, [0.0])):
        with pytest.raises(error) as caught:
            use(name)
        assert caught.value.hint


@pytest.mark.parametrize(("size", "at"), [(100, 50), (7_000_000, 2_500_000), (40_000_000, 39_999_999)])
def test_an_identity_depends_on_all_content(tmp_path, size, at):
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


def test_audio_alone_is_no_video(tmp_path):
    with pytest.raises(NoVideoStream, match="audio"):
        probe(write_sound(tmp_path / "sound.mp4"))


def test_a_truncated_file_has_a_warning(tmp_path):
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    write_numbered(whole, num_frames=200, fps=25)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    info = probe(cut)
    assert 0 < info.num_frames < 200
    assert "8.0 s" in info.warnings[0]
    assert probe(whole).warnings == ()


def test_ffmpeg_may_open_only_local_files(clip, monkeypatch):
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


def test_a_file_without_permission_is_an_error(tmp_path, clip, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(VideoNotFound, match="Permission denied"):
        probe(clip)
