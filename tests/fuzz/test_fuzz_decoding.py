from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).with_name("fuzz_decoding.py")


def fuzz(sources: str, data: str) -> None:
    command = [sys.executable, str(FUZZ), "--files", "100", "--seed", "1", "--sources", sources]
    ran = subprocess.run(
        command, env={**os.environ, "VIDZIP_TEST_DATA": data}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "100 files of" in ran.stdout
    assert "frames" in ran.stdout


def test_damaged_generated_files_give_frames_or_an_error_of_ours():
    fuzz("generated", "")


def test_damaged_real_files_give_frames_or_an_error_of_ours(data, videos):
    fuzz("real", str(data))
