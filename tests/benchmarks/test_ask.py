from __future__ import annotations

import json

import pytest

from benchmarks.ask import BEFORE, main, rows

STAGES = (
    *(
        "start and imports",
        "probe and plan",
        "load",
        "decode",
        "preprocess",
        "encode",
        "compress",
        "project",
        "prefill",
    ),
    *("generate", "the rest"),
)


def test_shares_are_of_what_comes_after_loading():
    one = {"start and imports": 10.0, "probe and plan": 1.0, "load": 4.0, "decode": 5.0, "preprocess": 0.6}
    one |= {"encode": 3.0, "compress": 0.2, "prefill": 1.0, "the rest": 0.2}
    other = {**one, "preprocess": 0.4, "the rest": 0.4}
    lines = {name: (shares, within) for name, shares, within in rows([one, other, one])}
    assert lines["load"] == ("40.0% (40.0% to 40.0%)", "")
    assert lines["decode"] == ("50.0% (50.0% to 50.0%)", "")  # has no limit
    assert lines["preprocess"] == ("6.0% (4.0% to 6.0%)", "no")
    assert lines["the rest"] == ("2.0% (2.0% to 4.0%)", "yes")


def test_a_run_measures_every_stage(clip, capsys):
    assert main([str(clip), "--model", "tiny-random", "--frames", "3", "--once"]) == 0
    seconds = json.loads(capsys.readouterr().out)
    assert tuple(seconds) == STAGES
    assert min(seconds.values()) >= 0
    assert main([str(clip) + ".none", "--once"]) == 2


@pytest.mark.slow
def test_the_table_is_of_new_processes(clip, capsys):
    assert main([str(clip), "--model", "tiny-random", "--frames", "3", "--runs", "1"]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    names = tuple(line.split("  ")[0] for line in lines)
    assert names == STAGES
    shares = {name: float(line.split("%")[0].split()[-1]) for name, line in zip(names, lines, strict=True)}
    after = [share for name, share in shares.items() if name not in BEFORE]
    assert min(shares.values()) >= 0
    assert sum(after) == pytest.approx(100, abs=1)
