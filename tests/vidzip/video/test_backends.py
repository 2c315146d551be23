"""Every decoder returns the right frame, or an error that says what to do."""

from __future__ import annotations

import os
import shutil
import sys
from bisect import bisect_right
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import pytest
import torch
from clips import KINDS, numbered_frame, write_numbered
from PIL import Image

from vidzip import decode, probe
from vidzip.errors import BackendUnavailable, BadArgument, DecodeError, EndsEarly, NotAVideo, TimeLimitExceeded
from vidzip.video.backends import BACKENDS
from vidzip.video.decoding import decode_chunks

REFUSED = {
    "pyav": set(),
    "torchcodec": {"h264.ts", "mpeg2.mpg", "mpeg4.avi"},
    "decord": {"h264.ts", "mpeg2.mpg", "mpeg4.avi", "h264.flv"},
}
"""Kinds of files that a decoder gets wrong, and that it refuses."""

REFUSED_REAL = {
    "pyav": set(),
    "torchcodec": {"frameqa_1.gif", "test.avi"},
    "decord": {
        "av1_video.mkv",
        "frameqa_1.gif",
        "h265_video.mp4",
        "nasa_13013.mp4",  # it decodes the other one of two streams
        "no_duration.webm",
        "test.avi",
    },
}

REAL = [
    "av1_video.mkv",
    "bikes.mp4",
    "frameqa_1.gif",
    "h265_video.mp4",
    "nasa_13013.mp4",
    "no_duration.webm",
    "sample_demo_3.mp4",
    "test.avi",
    "video_0.mov",
]


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Each decoder in turn that can be used here."""
    name = request.param
    if name != "pyav" and find_spec(name) is None:
        pytest.skip(f"{name} is not installed (pip install 'vidzip[{name}]')")
    if name == "torchcodec":
        try:
            import torchcodec  # noqa: F401
        except (ImportError, OSError, RuntimeError) as error:
            pytest.skip(f"torchcodec does not run here: {str(error).strip().splitlines()[0]}")
    return name


def decode_all(path) -> tuple[list[float], list[np.ndarray]]:
    """Decode a file frame by frame, in order: times and pictures. This shares no code with vidzip."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams.video)
        frames = list(container.decode(stream))
        origin = (container.start_time or 0) / 1e6
        times = sorted(float(frame.pts * stream.time_base) - origin for frame in frames)
        return times, [frame.to_ndarray(format="rgb24") for frame in frames]


def as_array(pixels: torch.Tensor) -> np.ndarray:
    return pixels.permute(1, 2, 0).numpy()


def differences(path, backend, timestamps, **options) -> list[int]:
    """The largest difference between each picture and the exactly decoded frame that is on screen, in levels."""
    times, originals = decode_all(path)
    frames = decode(path, timestamps, backend=backend, **options)
    found = []
    for timestamp, pixels, at in zip(timestamps, frames.pixels, frames.timestamps_seconds, strict=True):
        number = max(0, bisect_right(times, timestamp + 1e-6) - 1)
        assert at == pytest.approx(times[number], abs=1e-5)
        found.append(int(np.abs(as_array(pixels).astype(int) - originals[number]).max()))
    return found


def all_moments(path) -> list[float]:
    """The middle of every frame's time on screen, and timestamps just after it appears and just before it leaves."""
    times, _ = decode_all(path)
    edges = [*times, times[-1] + 0.02]
    timestamps = [
        timestamp
        for appears, leaves in pairwise(edges)
        for timestamp in (appears + 2e-4, (appears + leaves) / 2, leaves - 2e-4)
    ]
    return [max(0.0, timestamp) for timestamp in timestamps]


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_of_every_kind_of_file_is_exact(kinds, backend, name):
    path, _ = kinds(name)
    timestamps = all_moments(path)
    if name in REFUSED[backend]:
        with pytest.raises(DecodeError) as caught:
            decode(path, timestamps, backend=backend)
        assert caught.value.hint
    else:
        assert set(differences(path, backend, timestamps)) == {0}
        for step in (3, 4, 9):  # far apart, so that it jumps
            assert set(differences(path, backend, timestamps[step // 2 :: 3 * step])) == {0}


@pytest.mark.parametrize("name", REAL)
def test_real_files(videos, backend, name):
    times, _ = decode_all(videos / name)
    timestamps = [time + 1e-4 for time in times[:: max(1, len(times) // 8)]]
    if name in REFUSED_REAL[backend]:
        with pytest.raises(DecodeError):
            decode(videos / name, timestamps, backend=backend)
    elif name.endswith(".gif"):  # transparent pictures: other tests know what they show
        assert decode(videos / name, timestamps, backend=backend).pixels.shape[0] == len(timestamps)
    else:
        assert set(differences(videos / name, backend, timestamps)) == {0}


def test_colors_of_ten_bits_are_nearly_the_same(videos, backend):
    # Colors of 8 bits are the same in all releases of FFmpeg. Subsampled colors of 10 bits are not: they are
    # interpolated differently, which shows at edges.
    path = videos / "h264_10bits.mp4"
    times, originals = decode_all(path)
    frames = decode(path, times[::5], backend=backend)
    for pixels, picture, other in zip(frames.pixels, originals[::5], originals[1::5], strict=True):
        difference = np.abs(as_array(pixels).astype(int) - picture).mean()
        assert difference < (0.01 if backend == "pyav" else 4)
        assert difference <= np.abs(as_array(pixels).astype(int) - other).mean()


@pytest.mark.parametrize("resize", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(24, 50), (64, 100), (90, 200)])
def test_frames_are_resized_as_by_pillow(clip, backend, resize, size):
    timestamps = [0.1, 0.5, 1.9]
    times, originals = decode_all(clip)
    frames = decode(clip, timestamps, size=size, resize=resize, backend=backend)
    for timestamp, pixels in zip(timestamps, frames.pixels, strict=True):
        whole = Image.fromarray(originals[bisect_right(times, timestamp) - 1])
        expected = np.asarray(whole.resize(size[::-1], Image.Resampling[resize.upper()]), dtype=int)
        assert np.abs(as_array(pixels) - expected).max() <= 1


def test_frames_are_cropped_at_the_center(clip, backend):
    whole = decode(clip, [0.5], backend=backend).pixels
    assert torch.equal(decode(clip, [0.5], crop=40, backend=backend).pixels, whole[..., 12:52, 44:84])


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_frames_are_upright(tmp_path, backend, rotation):
    path = tmp_path / "turned.mp4"
    write_numbered(path, num_frames=6, rotation=rotation)
    pixels = decode(path, [0.0, 0.09], backend=backend).pixels
    _, originals = decode_all(path)
    for found, number in zip(pixels, (0, 2), strict=True):
        # FFmpeg's angle is counter-clockwise, as rot90's is.
        assert np.array_equal(as_array(found), np.rot90(originals[number], rotation // 90))


def test_a_real_rotated_file(videos, backend):
    _, originals = decode_all(videos / "video_90.mov")
    pixels = decode(videos / "video_90.mov", [0.0], backend=backend).pixels[0]
    assert np.array_equal(as_array(pixels), np.rot90(originals[0], -1))


@pytest.mark.parametrize("rotation", [0, 90])
def test_pixels_are_square(tmp_path, backend, rotation):
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(5):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")))
        output.mux(stream.encode())
    info = probe(path)
    assert (info.height, info.width) == ((64, 192), (192, 64))[rotation // 90]
    pixels = decode(path, [0.05], backend=backend).pixels
    assert pixels.shape == (1, 3, info.height, info.width)
    assert torch.equal(pixels, decode(path, [0.05]).pixels)


def test_timestamps_in_any_order_and_repeated(clip, backend):
    timestamps = [1.9, 0.1, 1.9, 0.11, 0.0]
    frames = decode(clip, timestamps, backend=backend)
    assert frames.timestamps_seconds == pytest.approx((1.88, 0.08, 1.88, 0.08, 0.0))
    assert torch.equal(frames.pixels, decode(clip, timestamps).pixels)


def test_chunks_equal_decode(clip, backend):
    timestamps = [0.04 * i + 0.01 for i in range(50)]
    chunks = list(decode_chunks(clip, timestamps, 7, backend=backend))
    assert torch.equal(torch.cat([chunk.pixels for chunk in chunks]), decode(clip, timestamps).pixels)


def test_a_timestamp_past_the_end_is_an_error(clip, backend):
    with pytest.raises(EndsEarly, match=r"2\.000 s.*2\.500 s") as caught:
        decode(clip, [0.0, 2.5], backend=backend)
    assert caught.value.end_seconds == pytest.approx(2)
    assert decode(clip, [2.03], backend=backend).timestamps_seconds == pytest.approx((1.96,))


def test_names_are_not_interpreted(clip, tmp_path, monkeypatch, backend):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "http:").mkdir()
    expected = decode(clip, [0.5]).pixels
    for name in (
        "-x.mp4",
        "--model.mp4",
        "a%d.mp4",
        "a%d.png",
        "http:x.mp4",
        "concat:a|b",
        "http:/x.mp4",
        "filmé \U0001f3ac",
    ):
        shutil.copy(clip, name)
        assert torch.equal(decode(name, [0.5], backend=backend).pixels, expected)


def test_a_playlist_is_not_opened(clip, tmp_path, backend):
    path = tmp_path / "playlist.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{clip}\n#EXT-X-ENDLIST\n")
    with pytest.raises(NotAVideo):
        decode(path, [0.5], backend=backend)


def test_time_is_limited(clip, backend):
    with pytest.raises(TimeLimitExceeded, match="1e-09 s"):
        decode(clip, [0.5], backend=backend, time_limit_seconds=1e-9)


def test_a_truncated_file_gives_its_frames_or_an_error(tmp_path, backend):
    whole, path = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_numbered(whole, num_frames=50, fast_start=True)
    path.write_bytes(whole.read_bytes()[:-300])
    _, originals = decode_all(whole)
    if backend == "decord":
        with pytest.raises(DecodeError):
            decode(path, [0.01, 0.5], backend=backend)
    else:
        frames = decode(path, [0.01, 0.5], backend=backend)
        for pixels, number in zip(frames.pixels, (0, 12), strict=True):
            assert np.array_equal(as_array(pixels), originals[number])


def test_an_unknown_decoder_is_an_error(clip):
    with pytest.raises(BadArgument, match=r"'ffms'.*auto, pyav, torchcodec, decord"):
        decode(clip, [0.5], backend="ffms")


class TestTorchcodec:
    """With a fake library, so that it need not be installed."""

    def test_missing_library(self, clip, monkeypatch):
        monkeypatch.setitem(sys.modules, "torchcodec", None)
        monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
        with pytest.raises(BackendUnavailable, match=r"pip install 'vidzip\[torchcodec\]'"):
            decode(clip, [0.5], backend="torchcodec")

    def test_library_that_does_not_run(self, clip, tmp_path, monkeypatch):
        (tmp_path / "torchcodec").mkdir()
        (tmp_path / "torchcodec" / "__init__.py").write_text("raise RuntimeError('no libav here\\nin many\\nlines')")
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchcodec"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(BackendUnavailable, match="no libav here") as caught:
            decode(clip, [0.5], backend="torchcodec")
        assert "\n" not in str(caught.value)

    def test_missing_gpu(self, clip, monkeypatch):
        self.fake(monkeypatch)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(BackendUnavailable, match="'cuda'"):
            decode(clip, [0.5], backend="torchcodec", device="cuda")

    @staticmethod
    def fake(monkeypatch, *, late=0.0, size=(64, 128), fails=False):
        class VideoDecoder:
            def __init__(self, source, **options):
                assert options == {"stream_index": 0, "num_ffmpeg_threads": 2, "device": "cpu", "seek_mode": "exact"}
                assert source.read(8)[4:] == b"ftyp"

            def get_frames_at(self, numbers):
                if fails:
                    raise RuntimeError("decode, /src/Decoder.cpp:1436, it broke\nhere")
                at = torch.tensor([0.04 * number + late for number in numbers], dtype=torch.float64)
                return SimpleNamespace(data=torch.zeros(len(numbers), 3, *size, dtype=torch.uint8), pts_seconds=at)

        package, module = ModuleType("torchcodec"), ModuleType("torchcodec.decoders")
        module.VideoDecoder = VideoDecoder
        monkeypatch.setitem(sys.modules, "torchcodec", package)
        monkeypatch.setitem(sys.modules, "torchcodec.decoders", module)

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"late": 0.04}, r"0\.520 s.*0\.480 s"),
            ({"size": (64, 64)}, "64x64.*128x64"),
            ({"fails": True}, "mp4': it broke"),
        ],
    )
    def test_results_are_checked(self, clip, monkeypatch, wrong, says):
        self.fake(monkeypatch)
        assert decode(clip, [0.5], backend="torchcodec", workers=2).pixels.shape == (1, 3, 64, 128)
        self.fake(monkeypatch, **wrong)
        with pytest.raises(DecodeError, match=says):
            decode(clip, [0.5], backend="torchcodec", workers=2)


FAKE = """
import os, signal, sys, time
import numpy

with open(os.environ["FAKE_NOTES"], "w") as notes:
    notes.write(str(os.getpid()))
print("a library may print what it likes")
wrong = os.environ["FAKE_WRONG"]
if wrong == "missing":
    raise ImportError("there is no decord")
if wrong == "broken":
    raise OSError("a library of its own is missing\\nand more")


class VideoReader:
    def __init__(self, uri, num_threads, fault_tol):
        if wrong == "hangs":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            time.sleep(100)
        if wrong == "opens not":
            raise RuntimeError(f"[12:00:00] /src/video.cc:151: [{uri}] Check failed\\nStack trace")
        with open(uri, "rb") as file:
            assert file.read(8)[4:] == b"ftyp"

    def __len__(self):
        return 49 if wrong == "count" else 50

    def get_frame_timestamp(self, numbers):
        starts = numpy.array(numbers, dtype=numpy.float32) * (0.05 if wrong == "times" else 0.04)
        return numpy.stack([starts, starts + 0.04], axis=1)

    def get_key_indices(self):
        return [0, 11, 23, 35, 47] if wrong == "keys" else [0, 12, 24, 36, 48]

    def __getitem__(self, number):
        if wrong == "dies" and number:
            os.kill(os.getpid(), signal.SIGKILL)
        if wrong == "ends" and number:
            sys.exit(3)
        if wrong == "repairs" and number:
            raise RuntimeError("[12:00:00] /src/video.cc:151: more than 0 duplicate frames")
        shape = (64, 128, 3)
        if wrong == "size":
            shape = (64, 64, 3)
        if wrong == "colours":
            shape = (64, 128, 1)
        pixels = numpy.full(shape, number, dtype=numpy.uint8)
        return type("Array", (), {"asnumpy": lambda self: pixels})()
"""


class TestDecord:
    """Its process, with a stand-in for the library."""

    @pytest.fixture
    def fake(self, tmp_path, monkeypatch):
        folder = tmp_path / "fake"
        folder.mkdir()
        (folder / "decord.py").write_text(FAKE)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.setenv("FAKE_NOTES", str(tmp_path / "notes"))

        def behave(wrong):
            monkeypatch.setenv("FAKE_WRONG", wrong)

        behave("")
        yield behave
        assert not self.is_running(tmp_path)

    @staticmethod
    def is_running(tmp_path) -> bool:
        try:
            os.kill(int((tmp_path / "notes").read_text()), 0)
        except ProcessLookupError:
            return False
        return True

    def test_frames_in_order(self, clip, fake):
        frames = decode(clip, [1.0, 0.5, 0.5], backend="decord")
        assert frames.pixels[:, 0, 0, 0].tolist() == [25, 12, 12]
        assert frames.timestamps_seconds == pytest.approx((1.0, 0.48, 0.48))

    def test_many_frames(self, tmp_path, clip, fake):
        timestamps = [i / 10_000 for i in range(19_999)]
        count = 0
        for chunk in decode_chunks(clip, timestamps, 500, size=(2, 2), backend="decord"):
            count += chunk.pixels.shape[0]
        assert count == 19_999

    @pytest.mark.parametrize(
        ("wrong", "error", "says"),
        [
            ("missing", BackendUnavailable, r"there is no decord.*vidzip\[decord\]"),
            ("broken", BackendUnavailable, r"\(a library of its own is missing\)"),
            ("opens not", DecodeError, "mp4': Check failed;"),
            ("count", DecodeError, "49 frames, not 50"),
            ("times", DecodeError, "timestamps"),
            ("keys", DecodeError, "keyframes"),
            ("dies", DecodeError, "SIGKILL"),
            ("ends", DecodeError, "code 3"),
            ("repairs", DecodeError, "mp4': more than 0 duplicate frames;"),
            ("size", DecodeError, "64x64.*128x64"),
            ("colours", DecodeError, "1 channels"),
        ],
    )
    def test_results_are_checked(self, clip, fake, wrong, error, says):
        fake(wrong)
        with pytest.raises(error, match=says) as caught:
            decode(clip, [0.0, 0.5], backend="decord")
        assert "\n" not in str(caught.value)

    def test_the_process_is_killed_at_the_time_limit(self, clip, fake):
        fake("hangs")
        with pytest.raises(TimeLimitExceeded, match="3 s"):
            decode(clip, [0.5], backend="decord", time_limit_seconds=3)

    def test_the_process_is_killed_when_the_generator_is_closed(self, tmp_path, clip, fake):
        chunks = decode_chunks(clip, [0.04 * i for i in range(50)], 2, backend="decord")
        next(chunks)
        assert self.is_running(tmp_path)
        chunks.close()
        assert not self.is_running(tmp_path)
