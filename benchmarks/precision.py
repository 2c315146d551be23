"""Compare answers in a session with those of full prompts in half precision.

    python -m benchmarks.precision SET [--model tiny] [--dtype float16 bfloat16] [--videos 10]

SET is a folder written by 'vidzip shapes'. Each question is asked with a full prompt, in a session, and in a batch with the
others about its video. On a virtual machine that announces AMX but crashes on it, set ONEDNN_MAX_CPU_ISA=AVX512_CORE_FP16
for bfloat16.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

import vidzip
from benchmarks.full_size import logits_of
from eval.datasets import load
from pipelines.terminal import print_markdown_table
from vidzip import Answer, Budget, VideoModel

NEW_TOKENS = 6


def first_logits(model: VideoModel, ask: Callable[[], list[Answer]]) -> tuple[Tensor, list[str]]:
    """Ask; return the logits of each answer's first token, (questions, vocabulary), and the answers."""
    with logits_of(model) as steps:
        answers = ask()
    return steps[0], [answer.text for answer in answers]


def compare(model: VideoModel, folder: Path, videos: int) -> tuple[int, float, float, int]:
    """Return the number of questions, the largest logit difference, the largest logit, and the differing answers."""
    of_video: dict[str, list[str]] = {}
    for sample in load(folder):
        of_video.setdefault(sample.video, []).append(sample.question)
    count, difference, largest, num_differing = 0, 0.0, 0.0, 0
    for video, questions in list(of_video.items())[:videos]:
        path = folder / "videos" / f"{video}.mp4"
        packed = model.pack(path, model.plan(path, Budget(num_frames=34)))
        session = model.session(packed)
        batched, batched_texts = first_logits(model, lambda: session.ask_many(questions, NEW_TOKENS))  # noqa: B023
        for number, question in enumerate(questions):
            full, full_texts = first_logits(model, lambda: [model.ask(packed, question, NEW_TOKENS)])  # noqa: B023
            one, one_texts = first_logits(model, lambda: [session.ask(question, NEW_TOKENS)])  # noqa: B023
            difference = max(
                difference, *(float((logits - full[0]).abs().max()) for logits in (one[0], batched[number]))
            )
            largest = max(largest, float(full.abs().max()))
            num_differing += (one_texts != full_texts) + (batched_texts[number] != full_texts[0])
            count += 1
    return count, difference, largest, num_differing


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", nargs="+", default=["float32", "float16", "bfloat16"])
    parser.add_argument("--videos", type=int, default=10)
    options = parser.parse_args()
    rows = []
    for dtype in options.dtype:
        model = vidzip.load(options.model, device=options.device, dtype=dtype)
        count, difference, largest, num_differing = compare(model, options.set, options.videos)
        rows.append((dtype, str(count), f"{difference:.1e}", f"{largest:.1f}", f"{num_differing} of {2 * count}"))
    print_markdown_table(
        rows, ("precision", "questions", "largest logit difference", "largest logit", "differing answers")
    )


if __name__ == "__main__":
    main()
