from __future__ import annotations

import dataclasses
import multiprocessing
from contextlib import ExitStack

import pytest
from loading import GENERATION, load_small
from questions import write_set

from eval.datasets import list_videos, load
from pipelines.runs.answering import Answerer
from pipelines.runs.devices import DeviceLost, run_on_devices
from pipelines.runs.run_log import open_run_log
from pipelines.runs.running import RunWorkload, run
from pipelines.runs.settings import FrameSettings
from vidzip import Budget, DecodeOptions, VidzipError


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    folder = write_set(tmp_path_factory.mktemp("set") / "set", videos=5)
    return RunWorkload(
        samples=load(folder),
        videos=list_videos(folder / "videos"),
        frames={"packed": FrameSettings(budget=Budget(num_frames=6)), "no-video": None},
        decoding=DecodeOptions(workers=1),
    )


def run_logs(folder, names):
    stack = ExitStack()
    return stack, {name: stack.enter_context(open_run_log(str(folder / name), {})) for name in names}


def predictions(logs):
    return {name: {key: row["prediction"] for key, row in log.rows.items()} for name, log in logs.items()}


def test_two_devices_answer_as_one_does(workload, small, tmp_path):
    opened, logs = run_logs(tmp_path / "one", workload.frames)
    with opened:
        run(workload, Answerer(model=small, generation=GENERATION), logs, lambda *_: None)
        expected = predictions(logs)
    reports = []
    opened, logs = run_logs(tmp_path / "two", workload.frames)
    with opened:
        run_on_devices(["cpu", "cpu"], workload, load_small, logs, lambda *report: reports.append(report))
    opened, logs = run_logs(tmp_path / "two", workload.frames)
    with opened:
        assert predictions(logs) == expected
        run_on_devices(["cpu"], workload, load_small, logs, lambda *_: None)  # nothing is left to do
    assert reports[0] == ("answer", 0, 50)
    assert reports[-1][1:] == (50, 50)
    assert not multiprocessing.active_children()


def test_a_device_that_is_lost_or_fails_ends_the_run(workload, tmp_path):
    workload = dataclasses.replace(workload, frames={"packed": workload.frames["packed"]})
    opened, logs = run_logs(tmp_path, workload.frames)
    with opened:
        with pytest.raises(DeviceLost, match=r"lost.*9"):
            run_on_devices(["lost"], workload, load_small, logs, lambda *_: None)
        with pytest.raises(VidzipError, match="no such luck"):
            run_on_devices(["refused"], workload, load_small, logs, lambda *_: None)
    assert not multiprocessing.active_children()
