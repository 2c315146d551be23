from __future__ import annotations

from benchmarks.planning import cases, five_budgets, main


def test_the_table(capsys):
    assert main(["--rounds", "1", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| video | prefers | tokens | caps | microseconds |"
    assert len(lines) == 2 + len(list(cases()))
    assert "| an hour | balanced | 136 | 2 s and 15 GB | " in "\n".join(lines)


def test_made_up_accuracies_prefer_four_tokens_a_frame():
    table = five_budgets()
    for frames in (8, 17, 34, 68, 136):
        assert max(table.frames, key=lambda count: table.at(count, 4 * frames)) == frames
