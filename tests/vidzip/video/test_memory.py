"""Peak memory, measured in separate processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from vidzip.video.writing import write

FPS = 25
DECODE = """
import resource, sys
import vidzip
path, seconds = sys.argv[1], float(sys.argv[2])
timestamps = [(i + 0.5) * seconds / 64 for i in range(64)]
frames = vidzip.decode(path, timestamps, size=224)
assert frames.pixels.shape[0] == 64
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def repeat(source: Path, target: Path, seconds: int) -> None:
    """Write a video of so many seconds by repeating the packets of a short one."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as output:
        template = clip.streams.video[0]
        packets = [packet for packet in clip.demux(template) if packet.size]
        length = sum(packet.duration for packet in packets)
        rounds = seconds * FPS // len(packets)
        stream = output.add_stream_from_template(template)
        times = [(packet.pts, packet.dts) for packet in packets]
        for turn in range(rounds):
            for packet, (pts, dts) in zip(packets, times, strict=True):
                packet.stream, packet.pts, packet.dts = stream, pts + turn * length, dts + turn * length
                packet.time_base = template.time_base
                output.mux(packet)


def peak_bytes(path: Path, seconds: int) -> int:
    """Peak memory of a process that decodes 64 frames."""
    command = [sys.executable, "-c", DECODE, str(path), str(seconds)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_memory_does_not_grow_with_the_video(tmp_path, kind):
    clip, short, long = (tmp_path / name for name in ("clip.mp4", f"short.{kind}", f"long.{kind}"))
    scene = np.kron(np.random.default_rng(0).integers(0, 256, (6, 12, 3)), np.ones((64, 64, 1))).astype(np.uint8)
    write(clip, [scene[:360, 2 * i : 2 * i + 640] for i in range(50)], FPS, crf=40, preset="veryfast")
    repeat(clip, short, 3 * 60)
    repeat(clip, long, 3 * 3600)
    assert peak_bytes(long, 3 * 3600) < 1.2 * peak_bytes(short, 3 * 60)
    long.unlink()
