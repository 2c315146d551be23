"""Memory of a run over many videos: of the process of ``vidzip eval``, and of the processes that decode.

    python -m benchmarks.batch_memory [--videos 500] [--frames 34] [--model tiny] [--markdown]

A few videos of the set ``shapes``, each under many names, with two questions each. Resident memory is read from
/proc after each video (Linux); the table shows it relative to the memory after a tenth of the videos.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import statistics
import tempfile
from pathlib import Path

import vidzip
from eval.datasets import Sample, list_videos, load
from pipelines.runs.answering import Answerer
from pipelines.runs.decode_pool import default_processes
from pipelines.runs.run_log import open_run_log
from pipelines.runs.running import RunWorkload, run
from pipelines.runs.settings import FrameSettings, GenerationSettings
from pipelines.shapes import ShapesSettings, write_set
from pipelines.terminal import print_markdown_table, print_table
from vidzip import Budget, DecodeOptions

PARTS = 10


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 if it has ended."""
    try:
        text = Path(f"/proc/{pid}/statm").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def make_questions(folder: Path, videos: int, distinct: int) -> list[Sample]:
    """Write a few videos, give them many names, and ask two questions about each."""
    write_set(
        ShapesSettings(folder=str(folder), split="validation", videos=distinct, seed=7, workers=None), lambda *_: None
    )
    known = load(folder)
    samples = []
    for number in range(videos):
        sample = known[number % len(known)]
        name = f"{sample.video}-{number}"
        os.link(folder / "videos" / f"{sample.video}.mp4", folder / "videos" / f"{name}.mp4")
        samples += [dataclasses.replace(sample, id=f"{name}-{which}", video=name) for which in range(2)]
    return samples


def main() -> None:
    """Run, and print the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=500)
    parser.add_argument("--distinct", type=int, default=10)
    parser.add_argument("--frames", type=int, default=34)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    model = vidzip.load(options.model, device=options.device)
    main_bytes: dict[int, int] = {}
    worker_bytes: dict[int, int] = {}

    def measure(_stage: str, done: int, _total: int) -> None:
        main_bytes[done // 2] = resident_bytes(os.getpid())
        worker_bytes[done // 2] = sum(resident_bytes(one.pid or 0) for one in multiprocessing.active_children())

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "set")
        workload = RunWorkload(
            samples=make_questions(folder, options.videos, options.distinct),
            videos=list_videos(folder / "videos"),
            frames={"run": FrameSettings(budget=Budget(num_frames=options.frames))},
            decoding=DecodeOptions(workers=2),
            processes=default_processes(),
        )
        with open_run_log(os.path.join(name, "run"), {}) as log:
            answerer = Answerer(model=model, generation=GenerationSettings(max_new_tokens=5))
            run(workload, answerer, {"run": log}, measure)
            failed = log.num_failed
    if failed:
        raise SystemExit(f"{failed} questions failed")
    part = options.videos // PARTS
    rows = []
    for first in range(part, options.videos, part):
        window = range(first + 1, first + part + 1)
        rows.append(
            (
                f"{first + 1} to {first + part}",
                *(
                    f"{statistics.median(memory[video] for video in window) / memory[part]:.3f}"
                    for memory in (main_bytes, worker_bytes)
                ),
            )
        )
    header = ("videos", "process of the run", "processes that decode")
    print(f"{options.videos} videos, {options.frames} frames each, {options.model} on {model.device.type}; median")
    print(f"memory relative to the memory after video {part}\n")
    (print_markdown_table if options.markdown else print_table)(rows, header)


if __name__ == "__main__":
    main()
