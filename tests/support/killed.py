"""Run vidzip, and kill it with SIGKILL at one of its writes of answers: after the write, or in the middle of it.

python killed.py WRITES after|half vidzip's arguments…
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Count writes to files of answers, and kill this process after the given number."""
    writes, place, *arguments = sys.argv[1:]
    left = int(writes)
    real = os.write

    def write(handle: int, text: bytes) -> int:
        nonlocal left
        name = os.readlink(f"/proc/self/fd/{handle}")
        if not name.endswith("answers.jsonl"):
            return real(handle, text)
        left -= 1
        if left < 0:
            written = real(handle, bytes(text[: len(text) // 2]) if place == "half" else text)
            os.kill(os.getpid(), signal.SIGKILL)
            return written
        return real(handle, text)

    os.write = write
    from pipelines.cli import main as vidzip

    return vidzip(arguments)


if __name__ == "__main__":
    sys.exit(main())
