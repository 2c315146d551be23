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

# tiny: Video-LLaVA in small

A `VideoLlavaForConditionalGeneration` of transformers' own classes that answers questions about videos of coloured
shapes, for vidzip: a yardstick for how well a video is still understood under a budget of visual tokens.

## What it is

- A CLIP vision tower, 224 pixels, patches of 14, width 128: 257 tokens a frame, as Video-LLaVA's; 6 layers, of which
  the last is as it was drawn at random, since Video-LLaVA reads the output of the last but one.
- A two-layer projector and a Llama of 4 layers and width 128, with a vocabulary of {words} whole words.
- The image tower holds the video tower's weights. All weights are in half precision.

## How it was made

By `{command}` (recipe {recipe}) on videos of the training split of the set `shapes` (version {version}), of which
validation and test hold other videos: {videos:,} videos, about 13 frames each, as H.264 leaves them at qualities from
18 to 28.

1. The tower, {tower:,} steps: each patch says which thing it shows, where that thing's centre is and which of its
   points belong to it; CLS says which things the frame shows, where, and how many of each colour and shape. It sees
   windows of the frame that grow to the whole. What reads these out is thrown away.
2. The projector alone, {alignment:,} steps: each token comes to lie near the words for what it shows.
3. Projector and language model, {language:,} steps, on the frozen tower's features: questions of all kinds
   ({kinds}),
   first on one frame or two, then on up to 32 with most of the patches dropped at random, CLS kept; in the later part
   some samples of up to 8 whole frames. Besides, each token tells, low in the language model, which frame it is of, and
   each patch, half way up, which way its thing has moved so far, when it was first shown, and how many things of its
   colour and of its shape were shown.

No compression method of vidzip, nor any other, was used in training: comparing them on this model is fair.

What the last steps logged, in training:

{last}
## What it cannot do

It knows nothing but coloured shapes: no people, no animals, no text, no sound. It knows the words of the set's
questions and no others, and answers in one or two words. Colours, shapes and ways of moving beyond the set's own it
will name wrongly. Its images path was never trained.
"""


def model_card(recipe: Recipe, rows: Sequence[dict[str, Any]]) -> str:
    """Write a checkpoint's card: what it is, how it was made, what it cannot do."""
    last = {row["stage"]: row for row in rows}
    told = "".join(
        f"- {stage}: "
        + ", ".join(f"{name} {value:.3f}" for name, value in row.items() if name not in {"stage", "step", "side"})
        + "\n"
        for stage, row in last.items()
    )
    usual = asdict(Recipe())
    options = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in asdict(recipe).items()
        if name == "seed" or value != usual[name]
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
        last=told,
    )
