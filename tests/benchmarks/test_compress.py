from __future__ import annotations

import pytest
import torch

from benchmarks.compress import ENCODER, LAYERS, build, encode, main, measure, row
from vidzip import VisionFeatures, observe
from vidzip.compress import METHODS

SMALL = ["--frames", "2", "--dim", "64", "--budget", "20", "--rounds", "2", "--batch", "1"]
SPENDING = [name for name, method in METHODS.items() if method.takes_any_budget]


def test_every_method_that_spends_a_budget_has_a_line(capsys):
    assert main([*SMALL, "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert "2 frames of 257 tokens, D = 64, 20 kept; cpu, float32" in printed
    rows = {line.split(" | ")[0].strip("| "): line for line in printed.splitlines() if line.startswith("| ")}
    assert rows.keys() == {"method", "---", *SPENDING}
    assert "share of the encoder's time | within 5%" in rows["method"]
    assert all(rows[name].rstrip(" |").endswith(("yes", "no")) for name in SPENDING)


def test_fewer_layers_have_no_limit(capsys):
    assert main([*SMALL, "--layers", "2", "--methods", "stride", "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert "2 of the 24 layers of the encoder: " in printed
    assert "share of the time of 2 of its 24 layers" in printed
    assert "within" not in printed.split("| method", 1)[1].splitlines()[0]


def test_a_share_is_taken_within_a_round_and_the_median_is_compared_with_the_limit():
    measured = [{ENCODER: 1.0, "stride": 0.04}, {ENCODER: 2.0, "stride": 0.12}, {ENCODER: 1.0, "stride": 0.05}]
    expected = ("stride", "within a frame", "50.0 ms", "5.00% (4.00% to 6.00%)")
    assert row("stride", measured, is_full_depth=True) == (*expected, "yes")
    assert row("stride", measured, is_full_depth=False) == expected
    measured[0]["stride"] = 0.06
    assert row("stride", measured, is_full_depth=True)[-1] == "no"


def test_the_first_round_is_not_counted_and_each_has_every_variant():
    calls = []
    variants = {name: lambda name=name: calls.append(name) for name in ("a", "b", "c")}
    measured = measure(variants, 3, torch.device("cpu"))
    assert [one.keys() for one in measured] == [variants.keys()] * 3
    assert [sorted(calls[i : i + 3]) for i in range(0, 12, 3)] == [["a", "b", "c"]] * 4


def test_features_are_those_of_observe():
    tower = build(64, 2, torch.device("cpu"), torch.float32)
    pixels = torch.randn(3, 3, 224, 224)
    ours, whole = encode(tower, pixels, 2), observe(tower, pixels)
    assert isinstance(ours, VisionFeatures)
    torch.testing.assert_close(ours.tokens, whole.tokens)
    torch.testing.assert_close(ours.scores, whole.scores)


def test_at_full_size_it_is_vit_l_14():
    with torch.device("meta"):
        tower = build(1024, LAYERS, torch.device("meta"), torch.float32)
    assert sum(weight.numel() for weight in tower.parameters()) == 303_179_776  # as OpenAI's, without the projection
    assert tower.config.num_attention_heads == 16


def test_invalid_options_are_refused(capsys):
    for wrong in (["--frames", "0"], ["--dim", "100"], ["--layers", "1"], ["--methods", "magic"]):
        with pytest.raises(SystemExit):
            main(wrong)
    assert main([*SMALL, "--device", "cuda:99"]) == 2
    assert "no device cuda:99" in capsys.readouterr().err
