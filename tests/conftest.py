"""Fixtures that more than one room of the tests needs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes test at a time: each computes on one CPU

import pytest
from hypothesis import settings

from vidzip.models import BUILT_IN

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches a network, whatever it names
# Some virtual machines announce AMX and then fault on it, which ends the process: bfloat16 is tested without it.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: interruptions are tested there too
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Laws are checked on new cases at every run on a desk, on the same cases at every run of CI.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


def _folder(variable: str, holds: str) -> Path:
    """Return the folder a variable names; without one, skip, or fail where CI promises it."""
    value = os.environ.get(variable, "")
    if value and Path(value).is_dir():
        return Path(value)
    reason = f"{variable} is {value!r}; set it to the folder that holds {holds}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data() -> Path:
    """Real videos and annotations."""
    return _folder("VIDZIP_TEST_DATA", "the real videos and annotations")


@pytest.fixture(scope="session")
def videos(data: Path) -> Path:
    return data / "videos"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Tensors made by the published implementations."""
    return _folder("VIDZIP_GOLDEN", "the golden tensors")


@pytest.fixture(scope="session")
def small():
    """The built-in random model, in float32 on the CPU."""
    from vidzip import load

    return load("tiny-random", device="cpu", dtype="float32")


@pytest.fixture(scope="session", params=sorted(BUILT_IN))
def built_in(request):
    """Each built-in model in turn."""
    from vidzip import load

    return load(request.param, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """A numbered H.264 clip of 50 frames at 25 a second."""
    from clips import write_numbered

    path = tmp_path_factory.mktemp("clips") / "numbered.mp4"
    write_numbered(path, num_frames=50)
    return path
