"""What is kept of the frames of ``shapes``: where CLS attends, which things keep a patch, how long merged tokens are.

    vidzip shapes OUT --split test && python -m benchmarks.kept OUT [--dtype bfloat16 float16]

It says why accuracies are what they are, and with --dtype which share of what is kept another precision changes. Frames
are the eight that Video-LLaVA takes; a patch shows the thing at its middle. On a virtual machine whose processor
announces AMX but faults on it, ONEDNN_MAX_CPU_ISA=AVX512_CORE_FP16 is needed for bfloat16 on the CPU.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import vidzip
from benchmarks.shapes import Shapes, read_set
from eval.datasets import DatasetError
from eval.shapes import Clip
from pipelines.terminal import Progress, print_line, print_message, print_table, progress_bar
from vidzip import FrameFeatures, VideoModel, VidzipError, zip_frames

FRAMES = 8
TOKENS = (4, 8, 17, 34)
METHODS = ("visionzip", "stride")


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """A frame: what the tower says of it, which thing each patch shows, which things are to be seen.

    Attributes:
        features: of this frame alone.
        owners: the number of the thing on each patch, -1 for the ground, (patches,).
        things: numbers of the things that are visible.
    """

    features: FrameFeatures
    owners: np.ndarray
    things: tuple[int, ...]


def frames_of(model: VideoModel, video: str, clip: Clip) -> Iterator[Seen]:
    """Encode the frames of a video."""
    side = math.isqrt(model.tokens_per_frame - 1)
    planned = vidzip.plan(video, vidzip.Budget(total_tokens=FRAMES * model.tokens_per_frame, num_frames=FRAMES))
    decoded = vidzip.decode(video, planned.timestamps_seconds)
    features = model.encode(decoded)
    for place, seconds in enumerate(decoded.timestamps_seconds):
        number = clip.scene.frame_at(seconds)
        visible = clip.scene.visible(number)
        yield Seen(
            features=features[[place]],
            owners=clip.scene.owners(number, side).reshape(-1),
            things=tuple(i for i, thing in enumerate(clip.scene.things) if thing in visible),
        )


def attention(frames: Sequence[Seen]) -> list[tuple[str, str]]:
    """Where CLS attends: to how many patches, and to things how much more than to the ground."""
    patches = [seen.features.attention[0, 1:] for seen in frames]
    weights = [(attended / attended.sum()).cpu().numpy() for attended in patches]
    spread = [float(np.exp(-(w * np.log(np.maximum(w, 1e-12))).sum())) for w in weights]
    on_things = [float(w[seen.owners >= 0].sum()) for w, seen in zip(weights, frames, strict=True)]
    area = [float((seen.owners >= 0).mean()) for seen in frames]
    return [
        (
            f"patches that CLS attends to (exponential of the entropy), of {frames[0].owners.size}",
            f"{np.median(spread):.1f}",
        ),
        ("share of that attention that lies on things", f"{100 * np.mean(on_things):.0f} %"),
        ("share of patches that show things", f"{100 * np.mean(area):.0f} %"),
    ]


def lengths(frames: Sequence[Seen]) -> list[tuple[str, str]]:
    """How long contextual tokens are, by the way they are merged, in lengths of the frame's median patch."""
    rows = []
    for merge in ("sum", "mean"):
        ratios = []
        for seen in frames:
            zipped = zip_frames(seen.features, 17, merge=merge)
            merged = zipped.tokens[-vidzip.token_split(17)[1] :].norm(dim=-1)
            ratios += (merged / seen.features.hidden[0, 1:].norm(dim=-1).median()).tolist()
        rows.append((f"length of a merged token ({merge}), in lengths of a patch", f"{np.median(ratios):.2f}"))
    return rows


def kept(frames: Sequence[Seen]) -> list[tuple[str, ...]]:
    """Which things keep a patch of their own: CLS and merged tokens are not counted."""
    rows: list[tuple[str, ...]] = []
    for method in METHODS:
        for tokens in TOKENS:
            patches = tokens - 1 if method == "stride" else vidzip.token_split(tokens)[0] - 1
            things, on_things, on_fullest = [], [], []
            for seen in frames:
                anchors = zip_frames(seen.features, tokens, method).anchor_of[: 1 + patches].cpu().numpy()
                shown = seen.owners[anchors[anchors > 0] - 1]
                things += [bool((shown == thing).any()) for thing in seen.things]
                on_things.append(float((shown >= 0).mean()))
                counts = [int((shown == thing).sum()) for thing in seen.things]
                on_fullest += [max(counts) / sum(counts)] if sum(counts) else []
            rows.append((method, str(tokens), str(patches), _mean(things), _mean(on_things), _mean(on_fullest)))
    return rows


def changed(frames: Sequence[Seen], others: Sequence[Seen]) -> list[tuple[str, ...]]:
    """Which share of the tokens kept, CLS and merged ones counted in, stand where none of the same frame stood before.

    Args:
        frames: as they were.
        others: the same, as another precision sees them.
    """
    rows: list[tuple[str, ...]] = []
    for method in METHODS:
        for tokens in TOKENS:
            new = 0
            for before, after in zip(frames, others, strict=True):
                kept_before, kept_after = (
                    set(zip_frames(seen.features, tokens, method).anchor_of.tolist()) for seen in (before, after)
                )
                new += len(kept_after - kept_before)
            rows.append((method, str(tokens), f"{100 * new / (tokens * len(frames)):.2f} %"))
    return rows


def _mean(shares: Sequence[float]) -> str:
    return f"{100 * np.mean(shares):.0f} %" if shares else ""


def look(model: VideoModel, shapes: Shapes, show: Progress) -> list[Seen]:
    """Encode the frames of all videos."""
    frames: list[Seen] = []
    for number, clip in enumerate(shapes.clips):
        show("look", number, len(shapes.clips))
        frames += frames_of(model, shapes.video(clip), clip)
    return frames


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, help="a folder that 'vidzip shapes' wrote")
    parser.add_argument("--model", default="tiny", help="built-in name, folder or hub id (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--dtype", nargs="+", default=[], help="precisions to hold against float32")
    parser.add_argument("--videos", type=int, help="the first so many videos of the set only")
    options = parser.parse_args(arguments)
    try:
        shapes = read_set(options.set, options.videos)
        model = vidzip.load(options.model, device=options.device, dtype="float32" if options.dtype else "auto")
        others: dict[str, list[Seen]] = {}
        with progress_bar() as show, torch.inference_mode():
            frames = look(model, shapes, show)
            for dtype in options.dtype:
                others[dtype] = look(vidzip.load(options.model, device=options.device, dtype=dtype), shapes, show)
    except (VidzipError, DatasetError) as error:
        print_message("error", str(error))
        return 2
    print_line(f"{len(shapes.clips)} videos, {len(frames):,} frames, tower of {model.name}\n")
    print_table([*attention(frames), *lengths(frames)])
    print_line()
    columns = (
        "method",
        "tokens a frame",
        "patches kept",
        "things that keep one",
        "kept ones on things",
        "on the fullest",
    )
    print_table(kept(frames), header=columns)
    for dtype, seen in others.items():
        print_line()
        print_table(changed(frames, seen), header=("method", "tokens a frame", f"changed by {dtype}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
