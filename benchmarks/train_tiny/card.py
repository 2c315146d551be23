"""The model card of a trained checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.train_tiny.recipe import RECIPE_VERSION, Recipe
from eval.shapes import KINDS, VERSION
from eval.shapes.questions import vocabulary

_CARD = """\
---
license: apache-2.0
pipeline_tag: video-text-to-text
library_name: transformers
---

# tiny: a small Video-LLaVA

A `VideoLlavaForConditionalGeneration` of transformers that answers questions about videos of coloured shapes. vidzip
uses it to measure how well a video is still understood under a budget of visual tokens.

## Architecture

- A CLIP vision tower: 224 pixels, patches of 14, width 128, 257 tokens per frame as in Video-LLaVA. It has 6 layers; the
  last keeps its random initialisation, since Video-LLaVA reads the output of the second to last.
- A two-layer projector and a Llama of 4 layers and width 128, with a vocabulary of {words} whole words.
- The image tower has the video tower's weights. All weights are in half precision.

## Training

Made by `{command}` (recipe {recipe}) from {videos:,} videos of the training split of the question set
`shapes` (version {version}), about 13 frames each, compressed with H.264 at quality 18 to 28. The validation and test
splits hold other videos.

1. The tower, {tower:,} steps. Each patch predicts its object's name, centre and outline; CLS predicts which objects the
   frame shows, where, and how many of each colour and shape. Crops grow to the whole frame. The prediction heads are
   discarded.
2. The projector alone, {alignment:,} steps. Each token is pulled to the embeddings of the words for what it shows.
3. Projector and language model, {language:,} steps, on the frozen tower's features. Questions of all kinds
   ({kinds})
   on one or two frames first, then on up to 32 with most patches dropped at random and CLS kept; later, some samples
   have up to 8 frames with all patches. An auxiliary loss: in a lower layer each token predicts its frame number, and in
   middle layers each patch predicts its object's motion, its first frame, and how many objects of its colour and of its
   shape have appeared.

No compression method was used in training, neither vidzip's nor any other, so methods can be compared fairly on this
model.

Last training log:

{last}
## Limitations

The model knows coloured shapes only: no people, no animals, no text, no sound. It knows the words of the set's questions
and answers in one or two words. It misnames colours, shapes and motions that are not in the set. Its image path is
untrained.
"""


def model_card(recipe: Recipe, rows: Sequence[dict[str, Any]]) -> str:
    """Write the card of a model from its recipe and training log."""
    last_rows = {row["stage"]: row for row in rows}
    last = "".join(
        f"- {stage}: "
        + ", ".join(f"{name} {value:.3f}" for name, value in row.items() if name not in {"stage", "step", "side"})
        + "\n"
        for stage, row in last_rows.items()
    )
    defaults = asdict(Recipe())
    options = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in asdict(recipe).items()
        if name == "seed" or value != defaults[name]
    ]
    return _CARD.format(
        words=len(vocabulary()),
        command=" ".join(["python -m benchmarks.train_tiny OUT", *options]),
        recipe=RECIPE_VERSION,
        version=VERSION,
        videos=recipe.videos,
        tower=recipe.tower_steps,
        alignment=recipe.alignment_steps,
        language=recipe.language_steps,
        kinds=", ".join(KINDS),
        last=last,
    )
