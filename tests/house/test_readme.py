from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_readmes_python_runs(tmp_path, clip, monkeypatch, capsys):
    shutil.copy(clip, tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    examples = blocks("python")
    assert examples
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - our own page
    assert capsys.readouterr().out.strip()


def test_the_readme_names_the_two_commands():
    text = "\n".join(blocks("console"))
    assert "$ make demo" in text
    assert "$ make test" in text
