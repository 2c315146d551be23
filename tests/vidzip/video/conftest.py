"""Files that several tests use."""

from __future__ import annotations

import pytest
from clips import KINDS, write_numbered


@pytest.fixture(scope="session")
def kinds(tmp_path_factory):
    """Write a file of a kind once; return its path, and the start of its frames after the first one, in seconds."""
    folder = tmp_path_factory.mktemp("kinds")
    written = {}

    def get(name):
        if name not in written:
            times = write_numbered(folder / name, **{"num_frames": 40, **KINDS[name]})
            written[name] = folder / name, [time - times[0] for time in times]
        return written[name]

    return get
