from __future__ import annotations

from benchmarks.planning import cases, five_budgets, main


def test_the_table(capsys):
    assert main(["--rounds", "1", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| video | prefers | tokens | limits | microseconds |"
    assert len(lines) == 2 + len(list(cases()))
    assert "| an hour | balanced | 136 | 2 s and 15 GB | " in "\n".join(lines)


def test_synthetic_accuracies_peak_at_four_tokens_per_frame():
    table = five_budgets()
    for frames in (8, 17, 34, 68, 136):
        assert max(table.frames, key=lambda count: table.at(count, 4 * frames)) == frames
