from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from narrow import make_narrow
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import full_size
from benchmarks.full_size import (
    Configuration,
    Rates,
    Work,
    configurations,
    frame_flop,
    main,
    measure_rates,
    precision_rows,
    projector_flop,
    prompt_flop,
    read_bytes,
)
from vidzip.models.full_size import build, build_config

ROOT = Path(__file__).parents[2]
KINDS = pytest.mark.parametrize("kind", ["port", "original"])


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    make_narrow(monkeypatch.setattr)
    monkeypatch.setattr(full_size, "HEIGHT", 45)
    monkeypatch.setattr(full_size, "WIDTH", 80)
    monkeypatch.setattr(full_size, "measure_rates", lambda *_: Rates(flop=1e12, read_bytes=1e11))


@pytest.fixture(scope="module")
def wide():
    """The configs at full size, made before anything is narrow."""
    return {kind: build_config(kind)[0] for kind in ("port", "original")}


def test_operation_counts_at_full_size(wide):
    assert frame_flop(wide["port"]) == pytest.approx(155e9, rel=0.01)
    assert frame_flop(wide["original"]) == pytest.approx(155e9 + 23 * 257 * 4 * 2 * 1024**2, rel=0.01)
    for config in wide.values():
        for tokens in (150, 2100):
            assert prompt_flop(config, tokens) / tokens == pytest.approx(14e9, rel=0.08)
        assert read_bytes(config, 2) == pytest.approx(13.2e9, rel=0.01)


def counted_flop(work) -> int:
    """What PyTorch counts; attention is done as matrix products, since it knows of no others on a CPU."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        work()
    return counted.get_total_flops()


@KINDS
def test_oracle_operation_counts_equal_pytorchs(kind):
    model = build(kind, 0.1, "cpu")
    config, frames, tokens = model.config, 8, 60
    config.vision_feature_layer = -1  # the tower runs its last layer too
    assert counted_flop(lambda: model.tower(torch.randn(frames, 3, 224, 224))) == frames * frame_flop(config)
    visual = torch.randn(tokens, config.vision_config.hidden_size)
    assert counted_flop(lambda: model.family.project(visual)) == tokens * projector_flop(config)

    embeds, caches = torch.randn(1, tokens, config.text_config.hidden_size), []
    language = model.network
    prefill = counted_flop(lambda: caches.append(language(inputs_embeds=embeds, logits_to_keep=1).past_key_values))
    text = config.text_config
    masked = 4 * text.num_hidden_layers * text.hidden_size * tokens * (tokens - 1) / 2  # computed, though not needed
    # Older versions of transformers multiply positions with frequencies as matrices.
    assert prefill == pytest.approx(prompt_flop(config, tokens) + masked, rel=1e-4)
    step = counted_flop(lambda: language(inputs_embeds=embeds[:, :1], past_key_values=caches[0]))
    assert step == pytest.approx(prompt_flop(config, 1, tokens), rel=1e-4)


def test_a_lower_bound_is_the_longer_of_computing_and_reading():
    rates = Rates(flop=100, read_bytes=10)
    assert rates.seconds(Work(flop=200)) == 2
    assert rates.seconds(Work(flop=200, read_bytes=30)) == 3


def test_rates_are_measured_and_the_faster_ones_count():
    measured = measure_rates(torch.device("cpu"), torch.float32)
    assert min(measured.flop, measured.read_bytes) > 1e8
    assert Rates(flop=1, read_bytes=4).or_faster(Rates(flop=2, read_bytes=3)) == Rates(flop=2, read_bytes=4)


@pytest.mark.parametrize(("frames", "tokens"), [(8, {17}), (64, {2, 3}), (128, {1, 2}), (256, {0, 1})])
def test_packed_frames_share_the_budget_evenly(frames, tokens):
    plan = Configuration(frames=frames, tokens=136, is_uncompressed=False).plan(1)
    assert plan.total_tokens == 136
    assert set(plan.tokens_per_frame) == tokens


@KINDS
def test_the_tables_and_the_file_hold_every_stage(kind, capsys, tmp_path):
    out = tmp_path / "out.json"
    options = ["--device", "cpu", "--kind", kind, "--depth", "0.01", "--frames", "8", "256", "--rounds", "2"]
    assert main([*options, "--markdown", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert (
        "| configuration | preprocess | encode | compress | project | prefill | one token | all | peak memory |"
        in printed
    )
    for title in (
        "8 uncompressed frames, 2,056 tokens",
        "8 packed frames, 136 tokens",
        "256 packed frames, 136 tokens",
    ):
        assert printed.count(f"| {title} |") == 2
    (result,) = json.loads(out.read_text())["results"]
    assert (result["kind"], result["dtype"]) == (kind, "float32")
    for configuration in result["configurations"]:
        assert len(configuration["rounds"]) == 2
        for measured in configuration["rounds"]:
            assert set(measured) == {*full_size.STAGES, "all", "without", "with", "prefix"}
            assert min(measured.values()) > 0


def test_ratios_tell_no_seconds(capsys):
    assert main(["--device", "cpu", "--depth", "0.01", "--frames", "8", "--rounds", "1", "--ratios", "--markdown"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| 8 uncompressed")]
    assert rows[0][7] == "1 (0%)"
    assert not any(" ms" in cell for row in rows for cell in row)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_answers_of_a_session_are_compared_with_whole_prompts(dtype, monkeypatch):
    monkeypatch.setattr(full_size, "ASKED_QUESTIONS", 3)
    monkeypatch.setattr(full_size, "ANSWER_TOKENS", 4)
    model = build("port", 0.01, "cpu", dtype)
    rows = list(precision_rows(model, configurations(model, [8])))
    variants = ["in a session", "batched"] * 2 + ["the same weights in float32"] * (2 if dtype == "float16" else 0)
    assert [row[1] for row in rows] == variants
    largest = [float(row[2]) for row in rows]
    assert max(largest) < (1e-4 if dtype == "float32" else 0.1)
    if dtype == "float32":
        assert {row[3] for row in rows} == {"0 of 3"}
    else:
        assert min(largest[-2:]) > 0


def test_the_precision_option_prints_its_table(capsys, monkeypatch):
    monkeypatch.setattr(full_size, "ASKED_QUESTIONS", 2)
    monkeypatch.setattr(full_size, "ANSWER_TOKENS", 2)
    assert main(["--device", "cpu", "--depth", "0.01", "--frames", "8", "--precision", "--markdown"]) == 0
    assert "| 8 packed frames, 136 tokens | batched |" in capsys.readouterr().out


def test_what_cannot_be_measured_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--kind", "original", "--frames", "12"])
    with pytest.raises(SystemExit):
        main(["--frames", "0"])
    assert "multiples of 8" in capsys.readouterr().err
    assert main(["--device", "cuda:99"]) == 2
    assert "no device cuda:99" in capsys.readouterr().err


@pytest.mark.slow
def test_it_runs_where_no_decoder_is_installed():
    code = (
        "import sys; sys.modules['av'] = None; from narrow import make_narrow; make_narrow(); from benchmarks import full_size; "
        "full_size.HEIGHT, full_size.WIDTH = 45, 80; "
        "sys.exit(full_size.main(['--device', 'cpu', '--depth', '0.01', '--frames', '8', '--rounds', '1']))"
    )
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "tests/support"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "8 packed frames, 136 tokens" in done.stdout
