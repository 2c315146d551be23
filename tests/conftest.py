"""Settings and fixtures of all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread per worker process

import pytest
from hypothesis import settings

from vidzip.models import BUILT_IN

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests use no network
# Some virtual machines announce AMX and crash when it is used: bfloat16 is tested without it.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in background jobs; tests of interruptions need it
    signal.signal(signal.SIGINT, signal.default_int_handler)

_IS_SAFE_PATH = "PYTHONSAFEPATH" in os.environ

# Properties are tested on the same examples in every run. --hypothesis-profile=random draws new ones: it may meet exact
# ties of features, which float32 and the float64 references of the tests may break differently.
settings.register_profile("same", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("random", deadline=None, max_examples=50)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def _import_path_of_subprocesses():
    """Undo what the command line, called in this process, sets for its subprocesses: test scripts import helpers."""
    yield
    if not _IS_SAFE_PATH:
        os.environ.pop("PYTHONSAFEPATH", None)


def _folder(variable: str, holds: str) -> Path:
    """Return the folder that an environment variable names; without it, skip the test, or fail in CI."""
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
    """The built-in random model in float32 on the CPU."""
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
