"""Measure the time of each compression method relative to encoding the frames.

    python -m benchmarks.compress [--frames 64] [--budget 136] [--rounds 5] [--device cuda]

A ViT-L/14 tower of Video-LLaVA's shape with random weights, float32 on a CPU and float16 on a GPU; every method compresses
its features to one budget. Encoding and methods run in a random order within each round; ratios are taken within a round,
and the table gives their medians and ranges. The limit is 5 % of the encoder's time.

With --layers, the tower has fewer than 24 layers, and shares are relative to those; no limit is checked then. Features come
from the second to last layer.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from pipelines.terminal import print_line, print_markdown_table, print_message, print_table
from vidzip import VisionFeatures, observe, zip_frames
from vidzip.compress import METHODS
from vidzip.models.timing import Stopwatch

LAYERS = 24
LIMIT = 0.05
ENCODER = "the encoder"


def build(dim: int, layers: int, device: torch.device, dtype: torch.dtype) -> CLIPVisionModel:
    """Build ViT-L/14 at 224 pixels if ``dim`` is 1,024; other widths keep its proportions and heads of 64."""
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=dim,
        intermediate_size=4 * dim,
        num_hidden_layers=layers,
        num_attention_heads=dim // 64,
        image_size=224,
        patch_size=14,
    )
    tower: Any = CLIPVisionModel(config).eval()
    tower.to(device, dtype)
    return cast(CLIPVisionModel, tower)


def encode(tower: CLIPVisionModel, pixels: torch.Tensor, batch: int) -> VisionFeatures:
    """Encode frames in batches."""
    return VisionFeatures.cat([observe(tower, part) for part in torch.split(pixels, batch)])


def measure(variants: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> list[dict[str, float]]:
    """Return the seconds of each variant in each round; a warm-up round is not counted."""
    order = random.Random(0)
    measured = []
    for _ in range(rounds + 1):
        stopwatch = Stopwatch(device)
        for name in order.sample(list(variants), len(variants)):
            with stopwatch.stage(name), torch.inference_mode():
                variants[name]()
        measured.append(stopwatch.seconds)
    return measured[1:]


def row(name: str, measured: Sequence[dict[str, float]], *, is_full_depth: bool) -> tuple[str, ...]:
    """Return a method's row."""
    ratios = [one[name] / one[ENCODER] for one in measured]
    median = statistics.median(ratios)
    milliseconds = 1000 * statistics.median(one[name] for one in measured)
    shares = f"{median:.2%} ({min(ratios):.2%} to {max(ratios):.2%})"
    kind = "across frames" if METHODS[name].is_across_frames else "within a frame"
    return (
        name,
        kind,
        f"{milliseconds:.1f} ms",
        shares,
        *((("yes" if median <= LIMIT else "no"),) if is_full_depth else ()),
    )


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--budget", type=int, default=136, help="tokens kept in all (default: %(default)s)")
    parser.add_argument("--dim", type=int, default=1024, help="width of the tower, a multiple of 64 (default: 1024)")
    parser.add_argument("--layers", type=int, default=LAYERS, help="layers of the tower, 2 or more (default: all 24)")
    parser.add_argument("--batch", type=int, default=16, help="frames per batch (default: %(default)s)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="these only")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args(arguments)
    if min(options.frames, options.budget, options.batch, options.rounds) < 1:
        parser.error("--frames, --budget, --batch and --rounds must be 1 or more")
    if options.dim < 64 or options.dim % 64 or options.layers < 2:
        parser.error("give a width that is a multiple of 64, and 2 layers or more")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table; return the exit code."""
    options = _arguments(arguments)
    try:
        device = torch.empty(0, device=options.device).device
    except (RuntimeError, AssertionError) as error:
        print_message("error", f"no device {options.device}: {error}")
        return 2
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    tower = build(options.dim, options.layers, device, dtype)
    pixels = torch.randn(options.frames, 3, 224, 224).to(device, dtype)
    with torch.inference_mode():
        features = encode(tower, pixels, options.batch)

    chosen = [name for name in options.methods or METHODS if METHODS[name].takes_any_budget]
    variants: dict[str, Callable[[], object]] = {ENCODER: lambda: encode(tower, pixels, options.batch)}
    for name in chosen:
        variants[name] = partial(zip_frames, features, method=name, total_tokens=options.budget)
    measured = measure(variants, options.rounds, device)

    is_full_depth = options.layers == LAYERS
    reference = "the encoder's time" if is_full_depth else f"the time of {options.layers} of its {LAYERS} layers"
    encoder_ms = 1000 * statistics.median(one[ENCODER] for one in measured)
    print_line(
        f"{options.frames} frames of {features.tokens_per_frame} tokens, D = {options.dim}, {options.budget} kept; "
        f"{device.type}, {str(dtype).removeprefix('torch.')}, {torch.get_num_threads()} threads, {options.rounds} rounds"
    )
    print_line(
        f"{'the encoder' if is_full_depth else f'{options.layers} of the {LAYERS} layers of the encoder'}: {encoder_ms:,.0f} ms\n"
    )
    header = ("method", "scope", "time", f"share of {reference}", *((f"within {LIMIT:.0%}",) if is_full_depth else ()))
    draw = print_markdown_table if options.markdown else print_table
    draw([row(name, measured, is_full_depth=is_full_depth) for name in chosen], header)
    return 0


if __name__ == "__main__":
    sys.exit(main())
