from __future__ import annotations

import os
import sys

import pytest
import torch

from vidzip.models import bfloat16
from vidzip.models.bfloat16 import MIN_SPEED_UP, is_bfloat16_fast, speed_up_in_subprocess


@pytest.mark.parametrize(("ratio", "good"), [(0.0, False), (0.5, False), (1.1, False), (MIN_SPEED_UP, True), (8, True)])
def test_a_clear_gain_counts_and_is_measured_once(ratio, good):
    asked = []

    def measure():
        asked.append(ratio)
        return ratio

    assert is_bfloat16_fast(measure) is good
    assert is_bfloat16_fast(measure) is good
    assert asked == [ratio]


def test_the_ratio_is_that_of_the_best_of_each(monkeypatch):
    # Ten products, in turn: float32 takes 8 seconds and once 6, bfloat16 4 and once 3.
    taken = {torch.float32: [8, 8, 6, 8, 8], torch.bfloat16: [4, 3, 4, 4, 4]}
    clock = [0.0]

    def linear(given, weight):
        assert given.dtype == weight.dtype
        assert given.shape[1] == weight.shape[1]
        clock[0] += taken[given.dtype].pop()

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    monkeypatch.setattr(bfloat16.time, "perf_counter", lambda: clock[0])
    assert bfloat16.speed_up() == 2.0
    assert taken == {torch.float32: [], torch.bfloat16: []}


def test_it_is_measured_in_a_subprocess():
    # tests/conftest.py leaves out the instructions that some virtual machines fault on.
    assert 0.01 < speed_up_in_subprocess() < 100


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import os; os.abort()", "it ends by a signal"),
        ("print(9); raise SystemExit(1)", "it fails"),
        ("print('nothing')", "it prints no number"),
        ("", "it prints nothing"),
        ("import time; time.sleep(60)", "it takes too long"),
    ],
)
def test_a_failing_measurement_counts_as_no_gain(monkeypatch, tmp_path, program, why):
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setattr(bfloat16, "__file__", str(tmp_path / "program.py"))
    monkeypatch.setattr(bfloat16, "_TIME_LIMIT_SECONDS", 2 if "takes" in why else 60)
    assert speed_up_in_subprocess() == 0.0


def test_a_missing_interpreter_counts_as_no_gain(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", os.fspath(tmp_path / "none"))
    assert speed_up_in_subprocess() == 0.0
