"""How far answers out of a session are from those to whole prompts, in half precision.

    python -m benchmarks.precision SET [--model tiny] [--dtype float16 bfloat16] [--videos 10]

SET is a folder that 'vidzip shapes' wrote. Each of its questions is asked with a whole prompt, in a session, and side
by side with the others about its video. On a virtual machine whose processor announces AMX but faults on it,
ONEDNN_MAX_CPU_ISA=AVX512_CORE_FP16 is needed for bfloat16.
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
    """Ask; the logits of each answer's first word, (questions, vocabulary), and the answers."""
    with logits_of(model) as steps:
        answers = ask()
    return steps[0], [answer.text for answer in answers]


def compare(model: VideoModel, folder: Path, videos: int) -> tuple[int, float, float, int]:
    """Questions, the largest difference of a first word's logit, the largest logit, answers that differ."""
    of_video: dict[str, list[str]] = {}
    for sample in load(folder):
        of_video.setdefault(sample.video, []).append(sample.question)
    count, apart, largest, differ = 0, 0.0, 0.0, 0
    for video, questions in list(of_video.items())[:videos]:
        path = folder / "videos" / f"{video}.mp4"
        packed = model.pack(path, model.plan(path, Budget(num_frames=34)))
        session = model.session(packed)
        together, said_together = first_logits(model, lambda: session.ask_many(questions, NEW_TOKENS))  # noqa: B023
        for number, question in enumerate(questions):
            alone, said = first_logits(model, lambda: [model.ask(packed, question, NEW_TOKENS)])  # noqa: B023
            one, said_in_session = first_logits(model, lambda: [session.ask(question, NEW_TOKENS)])  # noqa: B023
            ways = (one[0], together[number])
            apart = max(apart, *(float((way - alone[0]).abs().max()) for way in ways))
            largest = max(largest, float(alone.abs().max()))
            differ += (said_in_session != said) + (said_together[number] != said[0])
            count += 1
    return count, apart, largest, differ


def main() -> None:
    """Compare and print the table."""
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
        count, apart, largest, differ = compare(model, options.set, options.videos)
        rows.append((dtype, str(count), f"{apart:.1e}", f"{largest:.1f}", f"{differ} of {2 * count}"))
    print_markdown_table(
        rows, ("precision", "questions", "largest difference of a logit", "largest logit", "answers that differ")
    )


if __name__ == "__main__":
    main()
