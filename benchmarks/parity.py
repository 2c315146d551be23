"""Compare VisionZip with tensors computed by the published code.

python -m benchmarks.parity GOLDEN      # GOLDEN holds visionzip/tower and visionzip/golden.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import load_file
from transformers import CLIPVisionModel

from vidzip import observe
from vidzip.compress import visionzip


def main(folder: Path) -> None:
    """Print the table."""
    tower = CLIPVisionModel.from_pretrained(folder / "visionzip" / "tower", attn_implementation="sdpa").eval()
    golden = load_file(folder / "visionzip" / "golden.safetensors")
    features = observe(tower, golden["pixel_values"])
    print("| dominant + contextual | kept positions equal | largest difference of a token value |")
    print("|---|---|---|")
    settings = sorted(tuple(map(int, name.split("_")[1:])) for name in golden if name.startswith("packed_"))
    for dominant, contextual in settings:
        zipped = visionzip(features, dominant=dominant, contextual=contextual)
        equal = zipped.anchor_of.view(features.num_frames, -1)[:, :dominant].equal(
            golden[f"indices_{dominant}_{contextual}"]
        )
        difference = (zipped.tokens - golden[f"packed_{dominant}_{contextual}"].flatten(0, 1)).abs().max()
        print(f"| {dominant} + {contextual} | {'yes' if equal else 'NO'} | {difference:.1e} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("golden", type=Path)
    main(parser.parse_args().golden)
