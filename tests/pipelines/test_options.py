"""What options that several commands share come to."""

from __future__ import annotations

import pytest
from questions import write_set

import vidzip
from pipelines.cli import main
from vidzip.errors import UnknownModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set") / "set", videos=1, questions=1)


@pytest.fixture
def asked(monkeypatch):
    """What loading was asked for, by each command."""
    calls = []

    def load(name, **options):
        calls.append(options)
        raise UnknownModel("stopped here")

    monkeypatch.setattr(vidzip, "load", load)
    return calls


@pytest.mark.parametrize("command", ["ask", "pack", "chat", "eval", "grid"])
def test_every_command_that_looks_at_videos_can_compile(clip, folder, tmp_path, asked, command):
    out = str(tmp_path / "out")
    of_a_set = ["shapes", "--data", str(folder), "--out", out]
    arguments = {
        "ask": [str(clip), "What is shown?"],
        "pack": [str(clip), "-o", out],
        "chat": [str(clip)],
        "eval": of_a_set,
        "grid": [*of_a_set, "--frames", "8", "--budget", "136"],
    }[command]
    for flags, is_compiled in (([], False), (["--compile"], True)):
        assert main([command, *arguments, *flags, "--dtype", "bfloat16"]) == 2
        assert asked[-1]["compile_tower"] is is_compiled
        assert asked[-1]["dtype"] == "bfloat16"
    assert len(asked) == 2
