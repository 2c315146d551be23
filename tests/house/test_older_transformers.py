from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OLDEST = "5.17.0"
"""The oldest transformers that pyproject.toml allows."""


def test_the_tested_transformers_is_the_oldest_allowed():
    (promised,) = re.findall(r'"transformers>=([\d.]+),', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert f"{promised}.0" == OLDEST


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_suite_passes_with_the_oldest_transformers(tmp_path):
    """Installs it into a new environment, with the torch pinned in the constraints."""
    (torch,) = re.findall(r"^torch==.*$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--quiet", "--python", python, "install", torch, f"transformers=={OLDEST}"]
    subprocess.run([*install, "--editable", f"{ROOT}[test]"], check=True)
    printed = subprocess.run(
        [python, "-c", "import transformers; print(transformers.__version__)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert printed.stdout.strip() == OLDEST
    suite = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / "tests")],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert suite.returncode == 0, suite.stdout[-4000:]
