from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_the_three_packages_and_no_tools_of_the_makers(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"vidzip", "eval", "pipelines"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "vidzip/py.typed" in names
    assert {"eval/shapes/frozen_splits.json", "eval/reporting/page.html", "eval/reporting/page.css"} <= set(names)
    checkpoint = {name for name in names if name.startswith("vidzip/models/checkpoints/tiny/")}
    assert {name.rpartition("/")[2] for name in checkpoint} == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(zipfile.ZipFile(wheel).getinfo(name).file_size for name in checkpoint) <= 12e6
