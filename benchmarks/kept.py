"""Analyse the tokens kept of frames of ``shapes``: attention of CLS, objects with a kept patch, norms of merged tokens.

    vidzip shapes OUT --split test && python -m benchmarks.kept OUT [--dtype bfloat16 float16]

With --dtype, it also measures the share of kept tokens that another precision changes. Frames are Video-LLaVA's eight; a
patch shows the object at its centre. On a virtual machine that announces AMX but crashes on it, set
ONEDNN_MAX_CPU_ISA=AVX512_CORE_FP16 for bfloat16 on the CPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import vidzip
from benchmarks.shapes import ShapesSet, read_set
from eval.datasets import DatasetError
from eval.shapes import Clip
from pipelines.terminal import Progress, print_line, print_message, print_table, progress_bar
from vidzip import VideoModel, VidzipError, VisionFeatures, zip_frames

FRAMES = 8
TOKENS = (4, 8, 17, 34)
METHODS = ("visionzip", "stride")


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledFrame:
    """A frame's features and objects.

    Attributes:
        features: features of this frame.
        owners: number of the object on each patch, -1 for the background, (patches,).
        things: numbers of the visible objects.
    """

    features: VisionFeatures
    owners: np.ndarray
    things: tuple[int, ...]


def frames_of(model: VideoModel, video: str, clip: Clip) -> Iterator[LabelledFrame]:
    """Encode and label the frames of a video."""
    planned = vidzip.plan(video, vidzip.Budget(total_tokens=FRAMES * model.tokens_per_frame, num_frames=FRAMES))
    decoded = vidzip.decode(video, planned.timestamps_seconds)
    features = model.encode(decoded)
    side, _ = features.grid
    for place, seconds in enumerate(decoded.timestamps_seconds):
        number = clip.scene.frame_at(seconds)
        visible = clip.scene.visible(number)
        yield LabelledFrame(
            features=features[[place]],
            owners=clip.scene.owners(number, side).reshape(-1),
            things=tuple(i for i, thing in enumerate(clip.scene.objects) if thing in visible),
        )


def attention(frames: Sequence[LabelledFrame]) -> list[tuple[str, str]]:
    """Return the number of patches that CLS attends to, and the share of its attention on objects."""
    patches = [frame.features.scores[0] for frame in frames]
    weights = [(attended / attended.sum()).cpu().numpy() for attended in patches]
    spread = [float(np.exp(-(w * np.log(np.maximum(w, 1e-12))).sum())) for w in weights]
    on_things = [float(w[frame.owners >= 0].sum()) for w, frame in zip(weights, frames, strict=True)]
    area = [float((frame.owners >= 0).mean()) for frame in frames]
    return [
        (
            f"patches that CLS attends to (exponential of the entropy), of {frames[0].owners.size}",
            f"{np.median(spread):.1f}",
        ),
        ("share of this attention on objects", f"{100 * np.mean(on_things):.0f} %"),
        ("share of patches that show objects", f"{100 * np.mean(area):.0f} %"),
    ]


def lengths(frames: Sequence[LabelledFrame]) -> list[tuple[str, str]]:
    """Return the norm of contextual tokens for each merge option, relative to the frame's median patch."""
    rows = []
    for merge in ("sum", "mean"):
        ratios = []
        for frame in frames:
            zipped = zip_frames(frame.features, 17, merge=merge)
            merged = zipped.tokens[-vidzip.token_split(17)[1] :].norm(dim=-1)
            ratios += (merged / frame.features.patches[0].norm(dim=-1).median()).tolist()
        rows.append((f"norm of a merged token ({merge}), relative to a patch", f"{np.median(ratios):.2f}"))
    return rows


def kept(frames: Sequence[LabelledFrame]) -> list[tuple[str, ...]]:
    """Return the share of objects with a kept patch; CLS and merged tokens are not counted."""
    rows: list[tuple[str, ...]] = []
    for method in METHODS:
        for tokens in TOKENS:
            patches = tokens - 1 if method == "stride" else vidzip.token_split(tokens)[0] - 1
            things, on_things, on_fullest = [], [], []
            for frame in frames:
                anchors = zip_frames(frame.features, tokens, method).anchor_of[: 1 + patches].cpu().numpy()
                first = frame.features.num_cls
                owners = frame.owners[anchors[anchors >= first] - first]
                things += [bool((owners == thing).any()) for thing in frame.things]
                on_things.append(float((owners >= 0).mean()))
                counts = [int((owners == thing).sum()) for thing in frame.things]
                on_fullest += [max(counts) / sum(counts)] if sum(counts) else []
            rows.append((method, str(tokens), str(patches), _mean(things), _mean(on_things), _mean(on_fullest)))
    return rows


def changed(frames: Sequence[LabelledFrame], others: Sequence[LabelledFrame]) -> list[tuple[str, ...]]:
    """Return the share of kept tokens, including CLS and merged ones, whose position was not kept before.

    Args:
        frames: the frames.
        others: the same frames in another precision.
    """
    rows: list[tuple[str, ...]] = []
    for method in METHODS:
        for tokens in TOKENS:
            new = 0
            for before, after in zip(frames, others, strict=True):
                kept_before, kept_after = (
                    set(zip_frames(frame.features, tokens, method).anchor_of.tolist()) for frame in (before, after)
                )
                new += len(kept_after - kept_before)
            rows.append((method, str(tokens), f"{100 * new / (tokens * len(frames)):.2f} %"))
    return rows


def _mean(shares: Sequence[float]) -> str:
    return f"{100 * np.mean(shares):.0f} %" if shares else ""


def encode_all(model: VideoModel, shapes: ShapesSet, show: Progress) -> list[LabelledFrame]:
    """Encode the frames of all videos."""
    frames: list[LabelledFrame] = []
    for number, clip in enumerate(shapes.clips):
        show("encode", number, len(shapes.clips))
        frames += frames_of(model, shapes.video(clip), clip)
    return frames


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, help="a folder written by 'vidzip shapes'")
    parser.add_argument("--model", default="tiny", help="built-in name, folder or hub id (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--dtype", nargs="+", default=[], help="precisions to compare with float32")
    parser.add_argument("--videos", type=int, help="use the first videos of the set only")
    options = parser.parse_args(arguments)
    try:
        shapes = read_set(options.set, options.videos)
        model = vidzip.load(options.model, device=options.device, dtype="float32" if options.dtype else "auto")
        others: dict[str, list[LabelledFrame]] = {}
        with progress_bar() as show, torch.inference_mode():
            frames = encode_all(model, shapes, show)
            for dtype in options.dtype:
                others[dtype] = encode_all(vidzip.load(options.model, device=options.device, dtype=dtype), shapes, show)
    except (VidzipError, DatasetError) as error:
        print_message("error", str(error))
        return 2
    print_line(f"{len(shapes.clips)} videos, {len(frames):,} frames, tower of {model.name}\n")
    print_table([*attention(frames), *lengths(frames)])
    print_line()
    columns = (
        "method",
        "tokens per frame",
        "kept patches",
        "objects with a kept patch",
        "kept patches on objects",
        "of these on one object",
    )
    print_table(kept(frames), header=columns)
    for dtype, other_frames in others.items():
        print_line()
        print_table(changed(frames, other_frames), header=("method", "tokens per frame", f"changed by {dtype}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
