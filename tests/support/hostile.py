"""A decoder that crashes or hangs its process, depending on the video's name."""

from __future__ import annotations

import os
import signal
import time

from pipelines.runs.decode_pool import decode_job


def decode(job):
    """Decode, or fail as the name of the file says."""
    name = os.path.basename(job.path)
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "exit" in name:
        os._exit(7)
    if "hang" in name:
        time.sleep(3600)
    if "slow" in job.key:
        time.sleep(0.4)
    if "raise" in name:
        raise_nonsense()
    return decode_job(job)


def raise_nonsense():
    raise SystemExit(3)
