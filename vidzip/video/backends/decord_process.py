"""The script of decord's process: lists the frames of a file, and decodes those that are requested, one by one.

It is run as a file and imports nothing of vidzip, so that it starts fast.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from typing import Any

_GRACE_SECONDS = 10
"""Time after the limit at which this process ends by itself, if its parent has not killed it."""

_MAX_SECONDS = 1e8
_MIN_REPAIRS = "0.0000000001"
"""Share of frames that may be replaced by a copy of another if they cannot be decoded: less than one in any file."""


def main() -> None:
    """Serve the parent process, over the socket that it passed."""
    file, channel, threads = (int(argument) for argument in sys.argv[1:4])
    seconds = min(float(sys.argv[4]) + _GRACE_SECONDS, _MAX_SECONDS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its parent kills it
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with socket.socket(fileno=channel) as parent:
        try:
            _serve(parent, file, threads, seconds)
        except OSError:
            return  # the parent has closed the socket


def _serve(parent: socket.socket, file: int, threads: int, seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        import decord
    except (ImportError, OSError, RuntimeError) as error:
        _send(parent, {"unavailable": str(error)})
        return
    try:
        video = decord.VideoReader(f"/dev/fd/{file}", num_threads=threads, fault_tol=_MIN_REPAIRS)
        starts = video.get_frame_timestamp(range(len(video)))[:, 0].tolist()
        listed = {"seconds": starts, "keyframes": video.get_key_indices()}
    except Exception as error:
        _send(parent, {"error": str(error)})
        return
    _send(parent, listed)
    signal.setitimer(signal.ITIMER_REAL, 0)
    with parent.makefile("rb") as requests:
        wanted = json.loads(requests.readline() or b"[]")
    for number in wanted:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            pixels = video[number].asnumpy()
        except Exception as error:
            _send(parent, {"error": str(error)})
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(parent, {"shape": pixels.shape})
        parent.sendall(pixels.tobytes())


def _send(parent: socket.socket, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    parent.sendall(len(data).to_bytes(8) + data)


if __name__ == "__main__":
    main()
