"""The demo: one video, asked about with 8 uncompressed frames and with 34 packed ones."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import vidzip
from eval.shapes import Clip, Kind, make_clip
from pipelines.ask import total_seconds
from pipelines.settings import BASELINE_FRAMES, DEFAULT_MODEL
from pipelines.terminal import Progress
from vidzip import Answer, Budget, PackedVideo
from vidzip.errors import WriteError
from vidzip.files import atomic_file
from vidzip.planner import DEFAULT_NUM_FRAMES
from vidzip.video.writing import write

SPLIT, SEED, INDEX = "validation", 7, 18
"""The video of the set ``shapes``: one with shapes that only frames between the baseline's eight show. docs/shapes.md
reports how often that happens."""

KINDS: tuple[Kind, ...] = ("colour", "direction", "flash")


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """Lines of text, a table of answers, and a table of costs."""

    lines: Sequence[str]
    answer_columns: Sequence[str]
    answers: Sequence[Sequence[str]]
    cost_columns: Sequence[str]
    costs: Sequence[Sequence[str]]


def run_demo(path: str, progress: Progress) -> DemoReport:
    """Write a video and ask about it, with uncompressed frames and with packed ones.

    Args:
        path: the video to write; it stays there. The same video from an earlier demo is written again.
        progress: shows the current stage.

    Raises:
        WriteError: another file has that name, or it cannot be written.
    """
    clip = make_clip(SPLIT, SEED, INDEX)
    scene = clip.scene
    progress(f"write {path}", 0, 1)
    _write(path, clip)
    info = vidzip.probe(path)
    progress(f"load {DEFAULT_MODEL}", 0, 1)
    model = vidzip.load(DEFAULT_MODEL)
    uncompressed = Budget(total_tokens=BASELINE_FRAMES * model.tokens_per_frame, num_frames=BASELINE_FRAMES)
    budgets = {
        f"{BASELINE_FRAMES} uncompressed frames": uncompressed,
        f"{DEFAULT_NUM_FRAMES} packed frames": Budget(num_frames=DEFAULT_NUM_FRAMES),
    }
    questions = [question for question in clip.questions if question.kind in KINDS]
    packs: dict[str, PackedVideo] = {}
    answers: dict[str, list[Answer]] = {}
    for name, budget in budgets.items():
        packs[name] = model.pack(info, model.plan(info, budget), on_progress=progress)
        answers[name] = [model.ask(packs[name], question.text) for question in questions]
    return DemoReport(
        lines=[
            (
                f"wrote {path}: {scene.num_frames} frames in {scene.duration_seconds:.1f} s, with "
                f"{len(scene.lasting)} shapes that stay a while and {len(scene.flashes)} that flash"
            ),
            f"asked {DEFAULT_MODEL}, the built-in model:",
        ],
        answer_columns=["question", *answers, "truth"],
        answers=[
            [question.text, *(column[i].text for column in answers.values()), question.answer]
            for i, question in enumerate(questions)
        ],
        cost_columns=["", *answers],
        costs=_costs(packs, answers),
    )


def _write(path: str, clip: Clip) -> None:
    """Write the clip, unless another file has its name."""
    with tempfile.TemporaryDirectory(prefix="vidzip-demo-") as folder:
        new = os.path.join(folder, "clip.mp4")
        write(new, clip.renderer.render_all(), clip.scene.fps, reproducible=True)
        if os.path.lexists(path):
            if not os.path.isfile(path) or not filecmp.cmp(new, path, shallow=False):
                raise WriteError(f"{path!r} exists, and is not the demo's video", hint="give another file with --out")
            return
        with open(new, "rb") as source, atomic_file(path) as target:
            shutil.copyfileobj(source, target)


def _costs(packs: dict[str, PackedVideo], answers: dict[str, list[Answer]]) -> list[list[str]]:
    """List visual tokens, and seconds per stage for all questions together."""
    seconds = [total_seconds(packed, answers[name]) for name, packed in packs.items()]
    return [
        ["visual tokens", *(f"{packed.num_tokens:,}" for packed in packs.values())],
        *([f"{stage} s", *(f"{one[stage]:.3f}" for one in seconds)] for stage in seconds[0]),
    ]
