"""Compare decoding by vidzip with other libraries.

    pip install 'vidzip[peers]' && python -m benchmarks.decode FOLDER

Videos whose frames show their own numbers are written to FOLDER, unless they exist. From each, uniformly spaced frames
are decoded and resized to 224 pixels on the shorter side by vidzip and every installed library, with common settings and
with its fastest. Each measurement runs in a new process; decoders alternate within a round. Reported are the median time
and CPU time relative to vidzip's, the peak memory above that of the imports, and the number of wrong frames.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipelines.terminal import print_line, print_markdown_table, print_message, print_table, progress_bar
from vidzip.cpus import available_cpus

SIDE = 224
BITS = 15
"""Number of black or white blocks along the upper edge that encode a frame's number."""

TIMEOUT_SECONDS = 240
"""Limit of one measurement."""


@dataclass(frozen=True, kw_only=True)
class Video:
    """A generated video.

    Attributes:
        name: file name.
        title: title in the tables.
        codec: encoder name.
        options: encoder options.
        varies: whether the frame rate varies.
    """

    name: str
    title: str
    seconds: float
    width: int
    height: int
    fps: int = 25
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    varies: bool = False

    def times(self) -> list[float]:
        """Return each frame's timestamp in seconds."""
        count = round(self.seconds * self.fps)
        if not self.varies:
            return [i / self.fps for i in range(count)]
        random = np.random.default_rng(0)
        steps = random.choice([0.02, 0.04, 0.12], size=count, p=[0.45, 0.4, 0.15])
        return [round(float(at), 3) for at in np.concatenate(([0.0], np.cumsum(steps)[:-1]))]


_X264 = {"preset": "medium", "crf": "23"}
VIDEOS = (
    Video(
        name="10s.mp4", title="10 s, 320x240, GOP 12", seconds=10, width=320, height=240, options={**_X264, "g": "12"}
    ),
    Video(
        name="60s.mp4", title="60 s, 640x360, GOP 250", seconds=60, width=640, height=360, options={**_X264, "g": "250"}
    ),
    Video(
        name="10min.mp4",
        title="10 min, 1280x720, GOP 250",
        seconds=600,
        width=1280,
        height=720,
        options={**_X264, "g": "250", "sc_threshold": "0"},
    ),
    Video(
        name="h265.mp4",
        title="H.265, 30 s, 640x360",
        seconds=30,
        width=640,
        height=360,
        codec="libx265",
        options={"preset": "fast", "x265-params": "log-level=none:keyint=125"},
    ),
    Video(
        name="vp9.webm",
        title="VP9, 30 s, 640x360",
        seconds=30,
        width=640,
        height=360,
        codec="libvpx-vp9",
        options={"deadline": "realtime", "cpu-used": "8", "g": "125", "b": "600k"},
    ),
    Video(
        name="av1.mp4",
        title="AV1, 30 s, 640x360",
        seconds=30,
        width=640,
        height=360,
        codec="libsvtav1",
        options={"preset": "12", "g": "125"},
    ),
    Video(name="clip.gif", title="GIF, 5 s, 320x240", seconds=5, width=320, height=240, fps=10, codec="gif"),
    Video(
        name="varying.mkv",
        title="varying rate, 60 s, 640x360",
        seconds=60,
        width=640,
        height=360,
        options={**_X264, "g": "250"},
        varies=True,
    ),
)
COUNTS = (8, 32, 64, 128)


def draw_frames(video: Video) -> Iterator[np.ndarray]:
    """Draw a drifting textured scene with moving boxes and noise; each frame shows its number."""
    random = np.random.default_rng(1)
    height, width = video.height, video.width
    coarse = random.integers(40, 216, (height // 8 + 34, width // 8 + 34, 3), dtype=np.uint8)
    scene = np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
    grain = [random.integers(-2, 3, (height, width, 1), dtype=np.int16) for _ in range(8)]
    boxes = random.uniform(0.2, 1.7, (6, 4))
    colors = random.integers(0, 256, (6, 3))
    side = height // 6
    for number in range(len(video.times())):
        at = number / video.fps
        top, left = (int(120 + 120 * np.sin(at * rate)) for rate in (0.31, 0.23))
        frame = scene[top : top + height, left : left + width].astype(np.int16)
        for (speed_y, speed_x, begin_y, begin_x), color in zip(boxes, colors, strict=True):
            y = int((height - side) * (0.5 + 0.5 * np.sin(at * speed_y + begin_y * 4)))
            x = int((width - side) * (0.5 + 0.5 * np.sin(at * speed_x + begin_x * 4)))
            frame[y : y + side, x : x + side] = color
        frame += grain[number % len(grain)]
        np.clip(frame, 0, 255, out=frame)
        _draw_number(frame, number)
        yield frame.astype(np.uint8)


def _draw_number(frame: np.ndarray, number: int) -> None:
    height, width = frame.shape[0] // 8, frame.shape[1] // BITS
    for bit in range(BITS):
        frame[:height, bit * width : (bit + 1) * width] = 235 if number >> bit & 1 else 20


def read_number(frame: np.ndarray) -> int:
    """Read a frame's number from its pixels, (H, W, 3)."""
    height, width = frame.shape[0] // 8, frame.shape[1] / BITS
    rows = frame[height // 4 : 3 * height // 4, :, 1].astype(float).mean(axis=0)
    centers = [rows[round((bit + 0.3) * width) : round((bit + 0.7) * width)].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, level in enumerate(centers) if level > 128)


def write(video: Video, path: Path) -> None:
    """Encode a video; the file appears when it is complete."""
    partial = path.with_stem(path.stem + ".part")
    base = Fraction(1, 1000) if video.varies else Fraction(1, video.fps)
    with av.open(str(partial), "w") as output:
        stream: Any = output.add_stream(video.codec, rate=video.fps, options=video.options)
        stream.width, stream.height = video.width, video.height
        stream.pix_fmt = "rgb8" if video.codec == "gif" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = base
        for pixels, at in zip(draw_frames(video), video.times(), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(at / base), base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    partial.replace(path)


# Decoders take a path, timestamps in seconds and the average frame rate, and return frames, (H, W, 3).


def with_vidzip(path: str, timestamps: Sequence[float], _fps: float) -> Sequence[np.ndarray]:
    """Decode with vidzip."""
    import vidzip

    return [frame.permute(1, 2, 0).numpy() for frame in vidzip.decode(path, timestamps, size=SIDE).pixels]


def with_snap(path: str, timestamps: Sequence[float], _fps: float) -> Sequence[np.ndarray]:
    """Decode with vidzip, timestamps snapped to keyframes."""
    import vidzip
    from vidzip.video.snapping import snap_to_keyframes

    moved, _ = snap_to_keyframes(path, timestamps)
    return [frame.permute(1, 2, 0).numpy() for frame in vidzip.decode(path, moved, size=SIDE).pixels]


def with_decord(path: str, timestamps: Sequence[float], fps: float, *, fast: bool = False) -> Sequence[np.ndarray]:
    """Decode with decord by frame number; ``fast`` resizes while decoding."""
    import decord

    size = _size(path) if fast else {"width": -1, "height": -1}
    reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=0, **size)
    last = len(reader) - 1
    batch = reader.get_batch([min(last, int(timestamp * fps)) for timestamp in timestamps]).asnumpy()
    return batch if fast else _resized(batch)


def with_torchcodec(path: str, timestamps: Sequence[float], _fps: float, *, fast: bool = False) -> Sequence[np.ndarray]:
    """Decode with torchcodec and exact seeking; ``fast`` uses one thread per core."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, seek_mode="exact", **({"num_ffmpeg_threads": 0} if fast else {}))
    return _resized(decoder.get_frames_played_at(list(timestamps)).data)


def with_opencv(path: str, timestamps: Sequence[float], fps: float) -> Sequence[np.ndarray]:
    """Decode with OpenCV, seeking to each frame number."""
    import cv2  # type: ignore[import-not-found,unused-ignore]

    capture = cv2.VideoCapture(path)
    found = []
    for timestamp in timestamps:
        capture.set(cv2.CAP_PROP_POS_FRAMES, int(timestamp * fps))
        is_read, frame = capture.read()
        if not is_read:
            raise RuntimeError("a frame could not be read")
        scale = SIDE / min(frame.shape[:2])
        found.append(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[..., ::-1])
    return found


def with_pyav(path: str, timestamps: Sequence[float], fps: float) -> Sequence[np.ndarray]:
    """Decode with PyAV in one pass from the start."""
    wanted = {int(timestamp * fps) for timestamp in timestamps}
    found: dict[int, np.ndarray] = {}
    with av.open(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                found[number] = _resized([frame.to_ndarray(format="rgb24")])[0]
            if number >= max(wanted):
                break
    return [found[int(timestamp * fps)] for timestamp in timestamps]


def _size(path: str) -> dict[str, int]:
    with av.open(path) as container:
        stream = container.streams.video[0]
        short = min(stream.width, stream.height)
        return {"width": SIDE * stream.width // short, "height": SIDE * stream.height // short}


def _resized(batch: Any) -> Sequence[np.ndarray]:
    import torch
    from torch.nn.functional import interpolate

    small = []
    for frame in batch:
        pixels = torch.as_tensor(frame)
        pixels = pixels if pixels.shape[0] == 3 else pixels.permute(2, 0, 1)
        short = min(pixels.shape[1:])
        size = [SIDE * side // short for side in pixels.shape[1:]]
        small.append(interpolate(pixels[None], size=size, mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy())
    return small


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A decoder, its package, and the modules imported before measuring."""

    run: Callable[..., Sequence[np.ndarray]]
    package: str
    modules: tuple[str, ...]
    options: dict[str, bool] = field(default_factory=dict)


VIDZIP, SNAPPED = "vidzip", "vidzip, snapped"
_VIDZIP_MODULES = ("vidzip.video.decoding", "vidzip.video.backends.pyav", "vidzip.video.snapping")
DECODERS = {
    VIDZIP: Decoder(run=with_vidzip, package="vidzip", modules=_VIDZIP_MODULES),
    SNAPPED: Decoder(run=with_snap, package="vidzip", modules=_VIDZIP_MODULES),
    "decord": Decoder(run=with_decord, package="decord", modules=("torch", "decord")),
    "decord, resizing": Decoder(run=with_decord, package="decord", modules=("torch", "decord"), options={"fast": True}),
    "torchcodec": Decoder(run=with_torchcodec, package="torchcodec", modules=("torch", "torchcodec.decoders")),
    "torchcodec, threads": Decoder(
        run=with_torchcodec, package="torchcodec", modules=("torch", "torchcodec.decoders"), options={"fast": True}
    ),
    "OpenCV": Decoder(run=with_opencv, package="opencv-python-headless", modules=("cv2",)),
    "PyAV": Decoder(run=with_pyav, package="av", modules=("torch", "av")),
}


def measure(decoder: Decoder, path: str, timestamps: Sequence[float], fps: float) -> dict[str, Any]:
    """Run a decoder in this process; return seconds, CPU seconds, bytes above the imports, and frame numbers."""
    import importlib

    for module in decoder.modules:
        importlib.import_module(module)
    _warm_up()
    before = _peak_bytes()
    began, cpu = time.perf_counter(), time.process_time()
    frames = decoder.run(path, timestamps, fps, **decoder.options)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "bytes": max(0, _peak_bytes() - before),
        "numbers": [read_number(np.asarray(frame)) for frame in frames],
    }


def _warm_up() -> None:
    """Load what torch loads on first use."""
    import torch
    from torch.nn.functional import interpolate

    interpolate(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), size=(32, 32), mode="bicubic", antialias=True)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def middle_timestamps(times: Sequence[float], count: int, fps: int) -> list[float]:
    """Return the centers of equal segments, each moved to the middle of its frame's display time."""
    ends = [*times[1:], times[-1] + 1 / fps]
    middles = [(i + 0.5) * ends[-1] / count for i in range(count)]
    frames = [bisect_right(times, middle) - 1 for middle in middles]
    return [(times[frame] + ends[frame]) / 2 for frame in frames]


def measure_in_subprocess(name: str, path: Path, timestamps: Sequence[float], fps: float) -> dict[str, Any] | str:
    """Measure a decoder in a new process; return the reason as text if it fails."""
    command = [sys.executable, os.path.abspath(__file__), str(path.parent), "--one", name, path.name]
    request = json.dumps({"timestamps": list(timestamps), "fps": fps})
    try:
        done = subprocess.run(  # noqa: S603 - this file
            command, input=request, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"over {TIMEOUT_SECONDS} s"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
        return f"fails ({last.partition(':')[0].rpartition('.')[2]})"
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def installed() -> list[str]:
    """Return the names of the decoders whose package is installed."""
    names = []
    for name, decoder in DECODERS.items():
        try:
            version(decoder.package)
        except PackageNotFoundError:
            continue
        names.append(name)
    return names


def row(name: str, results: Sequence[dict[str, Any] | str], ours: dict[str, float], right: Sequence[int]) -> list[str]:
    """Return a decoder's row: ratios to vidzip, memory, wrong frames."""
    failed = next((result for result in results if isinstance(result, str)), None)
    if failed is not None:
        return [name, "-", "-", "-", failed]
    done = [result for result in results if isinstance(result, dict)]
    seconds, cpu, peak = (
        statistics.median(result[key] for result in done) for key in ("seconds", "cpu_seconds", "bytes")
    )
    spread = (max(result["seconds"] for result in done) - min(result["seconds"] for result in done)) / seconds
    wrong = sum(seen != number for seen, number in zip(done[0]["numbers"], right, strict=True))
    return [
        name,
        f"{seconds / ours['seconds']:.2f} (spread {spread:.0%})",
        f"{cpu / ours['cpu_seconds']:.2f}",
        f"{peak / 1e6:.0f}",
        f"{wrong} moved" if name == SNAPPED else str(wrong),
    ]


HEADER = ("decoder", "time", "CPU time", "memory", "wrong frames")


def compare(video: Video, folder: Path, count: int, names: Sequence[str], rounds: int) -> list[list[str]]:
    """Measure every decoder on one video at one frame count; return the table's rows."""
    times = video.times()
    fps = len(times) / (times[-1] + 1 / video.fps)
    timestamps = middle_timestamps(times, count, video.fps)
    results: dict[str, list[dict[str, Any] | str]] = {name: [] for name in names}
    with progress_bar() as show:
        for turn in range(rounds):
            for place, name in enumerate(names):
                show(f"{video.name}, {count} frames", turn * len(names) + place, rounds * len(names))
                if not any(isinstance(result, str) for result in results[name]):
                    results[name].append(measure_in_subprocess(name, folder / video.name, timestamps, fps))
    ours = [result for result in results[VIDZIP] if isinstance(result, dict)]
    if not ours:
        raise RuntimeError(f"{video.name}: {results[VIDZIP]}")
    medians = {key: statistics.median(result[key] for result in ours) for key in ("seconds", "cpu_seconds")}
    right = [bisect_right(times, timestamp) - 1 for timestamp in timestamps]
    return [row(name, results[name], medians, right) for name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the videos, about 500 MB")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument(
        "--videos", nargs="+", choices=[video.name for video in VIDEOS], help="measure these videos only"
    )
    parser.add_argument("--frames", nargs="+", type=int, default=COUNTS, help="frame counts (default: 8 32 64 128)")
    parser.add_argument("--decoders", nargs="+", choices=DECODERS, help="measure these and vidzip only")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument("--one", nargs=2, metavar=("DECODER", "VIDEO"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        request = json.load(sys.stdin)
        name, video_name = options.one
        measured = measure(DECODERS[name], str(options.folder / video_name), request["timestamps"], request["fps"])
        print_line(json.dumps(measured))
        return 0

    options.folder.mkdir(parents=True, exist_ok=True)
    chosen = [video for video in VIDEOS if options.videos is None or video.name in options.videos]
    available = installed()
    names = [name for name in available if options.decoders is None or name in (VIDZIP, *options.decoders)]
    missing = sorted({decoder.package for name, decoder in DECODERS.items() if name not in available})
    if missing:
        print_message("warning", f"not measured, since not installed: {', '.join(missing)}")
    with progress_bar() as show:
        for done, video in enumerate(chosen):
            show("write videos", done, len(chosen))
            if not (options.folder / video.name).exists():
                write(video, options.folder / video.name)
    print_line(
        ", ".join(
            f"{package} {version(package)}" for package in dict.fromkeys(DECODERS[name].package for name in names)
        )
    )
    print_line(
        f"{available_cpus()} cores, {options.rounds} rounds; time and CPU time relative to {VIDZIP}, peak memory in MB above "
        "that of the imports, number of wrong frames\n"
    )
    draw = print_markdown_table if options.markdown else print_table
    for video in chosen:
        for count in options.frames:
            print_line(f"\n{video.title}, {count} frames:\n")
            draw(compare(video, options.folder, count, names, options.rounds), header=HEADER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
