from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from killing import kill_test


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc to see what is written")
def test_a_killed_and_resumed_run_has_the_answers_of_an_uninterrupted_one(tmp_path):
    seen = kill_test(tmp_path, kills=3, inside=1, seed=1, videos=2)
    assert seen.same
    assert seen.kills == 3
    assert seen.inside == 1
    assert seen.starts_with_progress >= 2
