"""From a Video-LLaVA's config to what its costs follow from: sizes of weights, sums of products. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vidzip.errors import BadArgument
from vidzip.planner.costs import ModelShape

BYTES_OF = {"float32": 4, "float16": 2, "bfloat16": 2}
"""What a number takes in each precision."""

FRAMES_AT_ONCE: Mapping[str, int] = {"cpu": 8, "cuda": 32, "mps": 16}
"""Frames that run through a tower at once, at most, by the kind of device.

More would keep a device no busier: what is at hand of fewer stays in a CPU's caches, and the frames of a chunk have to be
decoded before it can run."""

_WIDE_BYTES = 4
"""Attention and mean keys, by which tokens are chosen, are kept in float32 whatever the tower's precision is."""

_MLP_VALUES = {"gelu": 2, "gelu_pytorch_tanh": 2, "relu": 2, "silu": 2, "quick_gelu": 3}
_MOST_MLP_VALUES = 5
_LAYER_VALUES = 6
"""As in :func:`vidzip.models.memory.activation_bytes`, which tests hold this to."""

_PROMPT_TOKENS = 50
"""A usual question with the words around it."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The numbers of a Video-LLaVA's config: a tower of CLIP's kind, a projector, a language model of LLaMA's kind.

    Attributes:
        image_size: pixels across a frame, as the tower sees it.
        patch_size: pixels across a patch.
        tower_width: D, numbers of a token in the tower.
        tower_inner: numbers of a token within its MLP.
        tower_layers: layers that there are.
        tower_layers_run: layers up to the one whose output the projector takes.
        tower_heads: of its attention.
        tower_activation: of its MLP, by transformers' name.
        frames_per_clip: frames that attend to each other over time; 1 where each is encoded alone.
        width: numbers of a token in the language model.
        inner: numbers of a token within its MLP.
        layers: of the language model.
        heads: of its attention.
        key_value_heads: of those, the ones with keys and values of their own.
        head_width: numbers of a token in one head.
        vocabulary: words it knows.
        is_tied: whether its first and last layer are the same weights.
    """

    image_size: int
    patch_size: int
    tower_width: int
    tower_inner: int
    tower_layers: int
    tower_layers_run: int
    tower_heads: int
    tower_activation: str
    frames_per_clip: int = 1
    width: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int
    head_width: int
    vocabulary: int
    is_tied: bool = False

    @staticmethod
    def of(config: Mapping[str, Any]) -> Architecture:
        """Read a config of transformers' layout, as ``config.json`` or ``config.to_dict()`` has it.

        Raises:
            BadArgument: it lacks a number, or joins several layers of the tower.
        """
        try:
            vision, text, layer = config["vision_config"], config["text_config"], config["vision_feature_layer"]
            heads = text["num_attention_heads"]
            there = vision["num_hidden_layers"]
            return Architecture(
                image_size=int(vision["image_size"]),
                patch_size=int(vision["patch_size"]),
                tower_width=int(vision["hidden_size"]),
                tower_inner=int(vision["intermediate_size"]),
                tower_layers=int(there),
                # Layers are numbered as transformers' hidden_states, which begin with the embeddings.
                tower_layers_run=int(layer if layer >= 0 else there + 1 + layer),
                tower_heads=int(vision["num_attention_heads"]),
                tower_activation=str(vision["hidden_act"]),
                frames_per_clip=int(vision["num_frames"]) if vision.get("add_time_attn") else 1,
                width=int(text["hidden_size"]),
                inner=int(text["intermediate_size"]),
                layers=int(text["num_hidden_layers"]),
                heads=int(heads),
                key_value_heads=int(text.get("num_key_value_heads") or heads),
                head_width=int(text.get("head_dim") or text["hidden_size"] // heads),
                vocabulary=int(text["vocab_size"]),
                is_tied=bool(text.get("tie_word_embeddings", False)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadArgument(
                f"the config tells no Video-LLaVA's shape: {type(error).__name__}: {error}",
                hint="give the config.json of a checkpoint in transformers' layout",
            ) from error

    @property
    def tokens_per_frame(self) -> int:
        """S, of one uncompressed frame, CLS included."""
        return (self.image_size // self.patch_size) ** 2 + 1

    def shape(self, name: str, dtype: str, frames_at_once: int = FRAMES_AT_ONCE["cpu"]) -> ModelShape:
        """Work out what costs follow from.

        A product and its sum count as 2 FLOP; norms, activations and softmax are left out. A token's way through a
        layer with widths d and m is ``4 d^2 + 2 d m`` products in the tower, whose MLP has two matrices, and
        ``2 d (h + k) + 3 d m`` in the language model, whose MLP has three, and whose h numbers of queries share k of
        keys; a token that attends to another one costs ``2 h`` more.

        Args:
            name: the model's.
            dtype: float32, float16 or bfloat16.
            frames_at_once: frames that run through the tower at once, at most; whole clips, one at least.

        Raises:
            BadArgument: an unknown precision.
        """
        if dtype not in BYTES_OF:
            raise BadArgument(f"unknown dtype {dtype!r}", hint=f"use one of {', '.join(BYTES_OF)}")
        size, wide = self.tokens_per_frame, self.tower_width
        clip, queries, keys = self.frames_per_clip, self.heads * self.head_width, self.key_value_heads * self.head_width
        held = BYTES_OF[dtype]
        token_in_tower = 4 * wide**2 + 2 * wide * self.tower_inner + 2 * size * wide
        if clip > 1:
            token_in_tower += 4 * wide**2 + 2 * clip * wide
        patches = (size - 1) * 3 * self.patch_size**2 * wide
        token_in_layer = 2 * self.width * (queries + keys) + 3 * self.width * self.inner
        mlp_values = _MLP_VALUES.get(self.tower_activation, _MOST_MLP_VALUES)
        at_once = size * (mlp_values * self.tower_inner + _LAYER_VALUES * wide) + 2 * 3 * self.image_size**2
        return ModelShape(
            name=name,
            tokens_per_frame=size,
            frames_per_clip=clip,
            frames_at_once=max(1, frames_at_once // clip) * clip,
            prompt_tokens=_PROMPT_TOKENS,
            frame_flop=2.0 * (patches + self.tower_layers_run * size * token_in_tower),
            visual_token_flop=2.0 * (wide * self.width + self.width**2),
            token_flop=2.0 * self.layers * token_in_layer,
            pair_flop=4.0 * self.layers * queries,
            weight_bytes=held * self.num_weights,
            language_bytes=held * self._language_weights,
            frame_bytes=held * at_once,
            feature_bytes=size * (held * wide + _WIDE_BYTES * (wide // self.tower_heads + 1)),
            token_bytes=held * 2 * self.layers * keys,
            prefill_token_bytes=held * (3 * self.inner + 4 * self.width + queries + 2 * keys),
            packed_width=wide,
        )

    @property
    def num_weights(self) -> int:
        """All of them, those of the tower for single pictures included, which a checkpoint brings too."""
        projector = (self.tower_width + 1) * self.width + (self.width + 1) * self.width
        first = 0 if self.is_tied else self.vocabulary * self.width
        return (
            self._tower_weights(1)
            + self._tower_weights(self.frames_per_clip)
            + projector
            + (self._language_weights + first)
        )

    def _tower_weights(self, frames_per_clip: int) -> int:
        wide, inner = self.tower_width, self.tower_inner
        attention, norm = 4 * (wide + 1) * wide, 2 * wide
        layer = attention + (wide + 1) * inner + (inner + 1) * wide + 2 * norm
        if frames_per_clip > 1:
            layer += attention + norm + frames_per_clip * wide
        embeddings = wide + 3 * self.patch_size**2 * wide + self.tokens_per_frame * wide
        return embeddings + self.tower_layers * layer + 2 * norm

    @property
    def _language_weights(self) -> int:
        """Those that every new token meets: layers, the last norm and the words it chooses from."""
        queries, keys = self.heads * self.head_width, self.key_value_heads * self.head_width
        layer = 2 * self.width * (queries + keys) + 3 * self.width * self.inner + 2 * self.width
        return self.layers * layer + self.width + self.vocabulary * self.width


PORT_7B = Architecture(
    image_size=224,
    patch_size=14,
    tower_width=1024,
    tower_inner=4096,
    tower_layers=24,
    tower_layers_run=23,
    tower_heads=16,
    tower_activation="quick_gelu",
    width=4096,
    inner=11008,
    layers=32,
    heads=32,
    key_value_heads=32,
    head_width=128,
    vocabulary=32064,
)
"""Video-LLaVA-7B as transformers' port: CLIP's ViT-L/14 and Vicuna-7B v1.5."""

ORIGINAL_7B = replace(PORT_7B, tower_activation="gelu", frames_per_clip=8, vocabulary=32000)
"""The original Video-LLaVA-7B, whose tower attends over time."""

ARCHITECTURES: Mapping[str, Architecture] = {
    "LanguageBind/Video-LLaVA-7B": ORIGINAL_7B,
    "LanguageBind/Video-LLaVA-7B-hf": PORT_7B,
}
"""Models that are known without a look at their config, by their names on the hub."""

VIDEO_LLAVA_7B = PORT_7B.shape("LanguageBind/Video-LLaVA-7B-hf", "float16", FRAMES_AT_ONCE["cuda"])
"""What is planned for where no model is named: half precision on CUDA."""
