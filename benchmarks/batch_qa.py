"""Questions per second: a loop like Video-LLaVA's own script, the same loop with packed frames, and a run.

    python -m benchmarks.batch_qa [--videos 8] [--questions 26] [--rounds 3] [--model tiny] [--markdown]

Videos of the set ``shapes``, with several questions each. (a) decodes and encodes 8 uncompressed frames for every
question; (b) does the same with packed frames; (c) is what ``vidzip eval`` does, including the start of its processes.
All generate the same number of tokens, since no answer ends by itself; the answers of (b) and (c) must be equal. The
variants take turns in one process; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
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
from vidzip import Budget, DecodeOptions, VideoModel
from vidzip.models.video_llava import VideoLlava

NEW_TOKENS = 5
VARIANTS = ("(a) 8 uncompressed frames for every question", "(b) 34 packed frames for every question", "(c) a run")


class _Endless(VideoLlava):
    """A model whose answers all have the same length."""

    @property
    def stop_token_ids(self) -> list[int]:
        """Return a token that no answer has."""
        return [self.config.image_token_index]


def make_questions(folder: Path, videos: int, questions: int) -> list[Sample]:
    """Write videos of the set, and repeat the questions of each until there are enough."""
    write_set(
        ShapesSettings(folder=str(folder), split="validation", videos=videos, seed=7, workers=None), lambda *_: None
    )
    samples: list[Sample] = []
    of_video: dict[str, list[Sample]] = {}
    for sample in load(folder):
        of_video.setdefault(sample.video, []).append(sample)
    for video, known in of_video.items():
        samples.extend(
            dataclasses.replace(known[number % len(known)], id=f"{video}-{number}") for number in range(questions)
        )
    return samples


def one_by_one(model: VideoModel, folder: Path, samples: Sequence[Sample], budget: Budget) -> dict[str, str]:
    """Decode, encode and pack a video again for every question."""
    answers = {}
    for sample in samples:
        path = folder / "videos" / f"{sample.video}.mp4"
        packed = model.pack(path, model.plan(path, budget))
        answers[sample.id] = model.ask(packed, sample.question, NEW_TOKENS).text
    return answers


def as_a_run(model: VideoModel, folder: Path, samples: Sequence[Sample], budget: Budget) -> dict[str, str]:
    """Do what ``vidzip eval`` does."""
    workload = RunWorkload(
        samples=samples,
        videos=list_videos(folder / "videos"),
        frames={"run": FrameSettings(budget=budget)},
        decoding=DecodeOptions(workers=2),
        processes=default_processes(),
    )
    with tempfile.TemporaryDirectory() as out, open_run_log(out, {}) as log:
        generation = GenerationSettings(max_new_tokens=NEW_TOKENS)
        run(workload, Answerer(model=model, generation=generation), {"run": log}, lambda *_: None)
        rows = dict(log.rows)
    lengths = {row["new_tokens"] for row in rows.values()}
    if lengths != {NEW_TOKENS}:
        raise SystemExit(f"answers have {lengths} tokens, not {NEW_TOKENS}")
    return {key: row["prediction"] for key, row in rows.items()}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--questions", type=int, default=26)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    loaded = vidzip.load(options.model, device=options.device)
    model = dataclasses.replace(loaded, family=_Endless(**vars(loaded.family)))
    whole = Budget(total_tokens=8 * model.tokens_per_frame, num_frames=8)
    packed = Budget(num_frames=34)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = make_questions(folder, options.videos, options.questions)
        works: tuple[Callable[[], dict[str, str]], ...] = (
            lambda: one_by_one(model, folder, samples, whole),
            lambda: one_by_one(model, folder, samples, packed),
            lambda: as_a_run(model, folder, samples, packed),
        )
        seconds: list[list[float]] = []
        for _ in range(options.rounds):
            answers, spent = [], []
            for work in works:
                began = time.perf_counter()
                answers.append(work())
                spent.append(time.perf_counter() - began)
            if answers[1] != answers[2]:
                raise SystemExit("the answers of (b) and (c) differ")
            seconds.append(spent)
    rows = []
    for place, variant in enumerate(VARIANTS):
        ratios = [spent[1] / spent[place] for spent in seconds]
        rows.append((variant, f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"))
    header = ("variant", "questions per second, relative to (b)")
    print(
        f"{options.videos} videos, {len(samples)} questions, {NEW_TOKENS} tokens each, {options.model} on "
        f"{model.device.type}, {options.rounds} rounds; the answers of (b) and (c) are equal\n"
    )
    (print_markdown_table if options.markdown else print_table)(rows, header)


if __name__ == "__main__":
    main()
