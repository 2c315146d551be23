from __future__ import annotations

import pytest

from benchmarks.ask import BEFORE, main, rows


def test_shares_are_of_what_comes_after_loading():
    one = {"start and imports": 10.0, "probe and plan": 1.0, "load": 4.0, "decode": 5.0, "preprocess": 0.6}
    one |= {"encode": 3.0, "compress": 0.2, "prefill": 1.0, "the rest": 0.2}
    other = {**one, "preprocess": 0.4, "the rest": 0.4}
    lines = {name: (shares, bound) for name, shares, bound in rows([one, other, one])}
    assert lines["load"] == ("40.0% (40.0% to 40.0%)", "")
    assert lines["decode"] == ("50.0% (50.0% to 50.0%)", "")  # held against nothing, however much it takes
    assert lines["preprocess"] == ("6.0% (4.0% to 6.0%)", "no")
    assert lines["the rest"] == ("2.0% (2.0% to 4.0%)", "yes")


def test_a_run_tells_everything_it_spends(clip, capsys):
    assert main([str(clip), "--model", "tiny-random", "--frames", "3", "--runs", "1"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["what", "share", "of", "the", "time", "after", "loading", "within", "5%"]
    names = [line.split("  ")[0] for line in lines]
    assert names == [
        "start and imports", "probe and plan", "load", "decode", "preprocess", "encode", "compress", "project",
        "prefill", "generate", "the rest",
    ]  # fmt: skip
    shares = {name: float(line.split("%")[0].split()[-1]) for name, line in zip(names, lines, strict=True)}
    after = [share for name, share in shares.items() if name not in BEFORE]
    assert min(shares.values()) >= 0
    assert sum(after) == pytest.approx(100, abs=1)


def test_what_cannot_be_asked_about_ends_it(tmp_path):
    with pytest.raises(SystemExit, match="no file"):
        main([str(tmp_path / "none.mp4"), "--runs", "1"])
