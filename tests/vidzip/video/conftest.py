"""Files that several tests of videos look into."""

from __future__ import annotations

import pytest
from clips import KINDS, write_numbered


@pytest.fixture(scope="session")
def kinds(tmp_path_factory):
    """Write a file of a kind once; give its path, and when its frames appear after the first, in seconds."""
    folder = tmp_path_factory.mktemp("kinds")
    written = {}

    def get(name):
        if name not in written:
            times = write_numbered(folder / name, **{"num_frames": 40, **KINDS[name]})
            written[name] = folder / name, [time - times[0] for time in times]
        return written[name]

    return get
