"""What observing and compressing cost beside a plain run of the tower, and what the published way costs.

    python benchmarks/encode.py [--frames 8] [--rounds 5] [--device cpu]

One process, a ViT-L/14 tower of Video-LLaVA's shape with random weights, float32 on a CPU and float16 on a GPU. The
ways run round after round, in an order drawn anew each time; each ratio is taken within a round, and the table gives their medians and range.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from vidzip import observe
from vidzip.compress import visionzip


def build(attention: str, device: torch.device, dtype: torch.dtype) -> CLIPVisionModel:
    """Build ViT-L/14 at 224 pixels; the same random weights for every kind of attention."""
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=224,
        patch_size=14,
        attn_implementation=attention,
    )
    return CLIPVisionModel(config).to(device, dtype).eval()


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Time one run, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    with torch.no_grad():
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    pixels = torch.randn(options.frames, 3, 224, 224).to(device, dtype)
    tower, eager = build("sdpa", device, dtype), build("eager", device, dtype)
    tokens = 17

    ways: dict[str, Callable[[], object]] = {
        "the tower alone": lambda: tower(pixels),
        "observe": lambda: observe(tower, pixels),
        "observe, then VisionZip to 17 tokens a frame": lambda: visionzip(observe(tower, pixels), tokens),
        "all attention maps and hidden states, eager (the published way), without compressing": lambda: eager(
            pixels, output_attentions=True, output_hidden_states=True
        ),
    }
    for work in ways.values():
        seconds(work, device)
    order = random.Random(0)
    rounds = [
        {name: seconds(ways[name], device) for name in order.sample(list(ways), len(ways))}
        for _ in range(options.rounds)
    ]
    print(f"{options.frames} frames, {device.type}, {str(dtype).removeprefix('torch.')}, {options.rounds} rounds\n")
    print("| way | time over the tower alone: median (range) |")
    print("|---|---|")
    for name in ways:
        ratios = [one[name] / one["the tower alone"] for one in rounds]
        print(f"| {name} | {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) |")


if __name__ == "__main__":
    main()
