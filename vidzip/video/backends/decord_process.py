"""What decord's process runs: it lists the frames of one file, is told which are wanted, and sends them one by one.

It is run as a file, and so that it starts fast it imports nothing of vidzip.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from typing import Any

_GRACE_SECONDS = 10
"""Whoever began this process ends it when time is up; so much later it ends by itself, where nobody is left."""

_LONGEST_SECONDS = 1e8
_FEWEST_REPAIRS = "0.0000000001"
"""The share of frames that may be a copy of another one where they cannot be decoded: less than one in any file."""


def main() -> None:
    """Serve the process that began this one, over the socket that it left open."""
    file, channel, threads = (int(given) for given in sys.argv[1:4])
    seconds = min(float(sys.argv[4]) + _GRACE_SECONDS, _LONGEST_SECONDS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is ended by whoever began it
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with socket.socket(fileno=channel) as parent:
        try:
            _serve(parent, file, threads, seconds)
        except OSError:
            return  # nobody listens any more


def _serve(parent: socket.socket, file: int, threads: int, seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        import decord
    except (ImportError, OSError, RuntimeError) as error:
        _say(parent, {"unavailable": str(error)})
        return
    try:
        video = decord.VideoReader(f"/dev/fd/{file}", num_threads=threads, fault_tol=_FEWEST_REPAIRS)
        starts = video.get_frame_timestamp(range(len(video)))[:, 0].tolist()
        listed = {"seconds": starts, "keys": video.get_key_indices()}
    except Exception as error:
        _say(parent, {"error": str(error)})
        return
    _say(parent, listed)
    signal.setitimer(signal.ITIMER_REAL, 0)
    with parent.makefile("rb") as told:
        wanted = json.loads(told.readline() or b"[]")
    for number in wanted:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            pixels = video[number].asnumpy()
        except Exception as error:
            _say(parent, {"error": str(error)})
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        _say(parent, {"shape": pixels.shape})
        parent.sendall(pixels.tobytes())


def _say(parent: socket.socket, message: dict[str, Any]) -> None:
    said = json.dumps(message).encode()
    parent.sendall(len(said).to_bytes(8) + said)


if __name__ == "__main__":
    main()
