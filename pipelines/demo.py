"""What vidzip is for, shown on one video: more is seen in 136 tokens than in 2,056."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import vidzip
from eval.shapes import Kind, make_clip
from pipelines.ask import seconds_in_all
from pipelines.settings import BASELINE_FRAMES, DEFAULT_MODEL
from pipelines.terminal import Progress
from vidzip import Answer, Budget, PackedVideo
from vidzip.planner import DEFAULT_NUM_FRAMES

CLIP = "clip.mp4"
SPLIT, SEED, INDEX = "validation", 7, 18
"""Which video of the set is shown: one that shows what frames in between are for. How often that holds, measures
benchmarks/shapes.py."""

KINDS: tuple[Kind, ...] = ("colour", "direction", "flash")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the demo has to say: a few lines, a table of answers, a table of costs."""

    lines: Sequence[str]
    columns: Sequence[str]
    answers: Sequence[Sequence[str]]
    cost_columns: Sequence[str]
    costs: Sequence[Sequence[str]]


def run_demo(progress: Progress) -> Shown:
    """Write a video into the current folder and ask about it, with full frames and with packed ones."""
    from vidzip.video.writing import write

    clip = make_clip(SPLIT, SEED, INDEX)
    scene = clip.scene
    progress(f"write {CLIP}", 0, 1)
    write(CLIP, clip.painter.frames(), scene.fps, reproducible=True)
    info = vidzip.probe(CLIP)
    progress(f"load {DEFAULT_MODEL}", 0, 1)
    model = vidzip.load(DEFAULT_MODEL)
    budgets = {
        f"{BASELINE_FRAMES} full frames": Budget(
            total_tokens=BASELINE_FRAMES * model.tokens_per_frame, num_frames=BASELINE_FRAMES
        ),
        f"{DEFAULT_NUM_FRAMES} packed frames": Budget(num_frames=DEFAULT_NUM_FRAMES),
    }
    asked = [question for question in clip.questions if question.kind in KINDS]
    packs: dict[str, PackedVideo] = {}
    said: dict[str, list[Answer]] = {}
    for name, one in budgets.items():
        packed = model.pack(info, vidzip.plan(info, one, model.tokens_per_frame), on_progress=progress)
        packs[name], said[name] = packed, [model.ask(packed, question.text) for question in asked]
    return Shown(
        lines=[
            (
                f"wrote {CLIP}: {scene.num_frames} frames in {scene.duration_seconds:.1f} s, with "
                f"{len(scene.lasting)} shapes that stay a while and {len(scene.flashes)} that flash"
            ),
            f"asked {DEFAULT_MODEL}, the model that ships:",
        ],
        columns=["question", *said, "truth"],
        answers=[
            [question.text, *(answers[i].text for answers in said.values()), question.answer]
            for i, question in enumerate(asked)
        ],
        cost_columns=["", *said],
        costs=_costs(packs, said),
    )


def _costs(packs: dict[str, PackedVideo], said: dict[str, list[Answer]]) -> list[list[str]]:
    """Tokens, and seconds a stage for all questions together, of each way to look at the video."""
    seconds = [seconds_in_all(packed, said[name]) for name, packed in packs.items()]
    return [
        ["visual tokens", *(f"{packed.num_tokens:,}" for packed in packs.values())],
        *([f"{stage} s", *(f"{one[stage]:.3f}" for one in seconds)] for stage in seconds[0]),
    ]
