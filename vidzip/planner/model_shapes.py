"""Derive a model's sizes and FLOP from its config. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vidzip.errors import BadArgument
from vidzip.planner.costs import ModelShape

BYTES_OF = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of a value in each precision."""

FRAMES_AT_ONCE: Mapping[str, int] = {"cpu": 8, "cuda": 32, "mps": 16}
"""Default batch size of a vision tower, in frames, by the kind of device.

Larger batches would not be faster: small ones fit a CPU's caches, and all frames of a batch have to be decoded before the
tower can start."""

_FLOAT32_BYTES = 4
"""Attention and mean keys, by which tokens are selected, are float32 in every precision."""

_MLP_TENSORS = {"gelu": 2, "gelu_pytorch_tanh": 2, "relu": 2, "silu": 2, "quick_gelu": 3}
"""Tensors of an MLP's intermediate size that an activation holds at once: input, output and temporaries."""

_MAX_MLP_TENSORS = 5
"""The same for any other activation."""

_LAYER_TENSORS = 6
"""Tensors of the hidden size beside them: two residuals, the inputs of attention and MLP, the observed features, and the
output of attention over time."""

_PROMPT_TOKENS = 50
"""Tokens of a usual question in its prompt template."""


def activation_values(
    *, num_tokens: int, hidden_size: int, intermediate_size: int, activation: str, image_size: int
) -> int:
    """Bound the values that one frame holds at once in a vision tower without gradients; weights are left out.

    Args:
        num_tokens: tokens of a frame, CLS included.
        hidden_size: values of a token.
        intermediate_size: values of a token in the MLP.
        activation: the MLP's activation, by transformers' name.
        image_size: pixels per side of a frame.
    """
    mlp = _MLP_TENSORS.get(activation, _MAX_MLP_TENSORS) * intermediate_size
    return num_tokens * (mlp + _LAYER_TENSORS * hidden_size) + 2 * 3 * image_size**2


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Sizes in a Video-LLaVA config: a CLIP-like vision tower, a projector and a LLaMA-like language model.

    Attributes:
        image_size: pixels per side of a frame.
        patch_size: pixels per side of a patch.
        vision_hidden_size: D, values of a token in the vision tower.
        vision_intermediate_size: values of a token in its MLP.
        vision_layers: layers of the vision tower.
        vision_layers_run: layers up to the one whose output is projected.
        vision_heads: its attention heads.
        vision_activation: its MLP's activation, by transformers' name.
        frames_per_clip: frames that attend to each other over time; 1 if each is encoded alone.
        hidden_size: values of a token in the language model.
        intermediate_size: values of a token in its MLP.
        layers: its layers.
        heads: its attention heads.
        key_value_heads: its key-value heads.
        head_dim: values of a token in one head.
        vocab_size: its vocabulary.
        tie_word_embeddings: whether its input and output embeddings share weights.
    """

    image_size: int
    patch_size: int
    vision_hidden_size: int
    vision_intermediate_size: int
    vision_layers: int
    vision_layers_run: int
    vision_heads: int
    vision_activation: str
    frames_per_clip: int = 1
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool = False

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> Architecture:
        """Read a config in transformers' layout: the content of ``config.json``, or ``config.to_dict()``.

        Raises:
            BadArgument: a size is missing, or several layers of the vision tower are joined.
        """
        try:
            vision, text, layer = config["vision_config"], config["text_config"], config["vision_feature_layer"]
            heads, vision_layers = text["num_attention_heads"], vision["num_hidden_layers"]
            return Architecture(
                image_size=int(vision["image_size"]),
                patch_size=int(vision["patch_size"]),
                vision_hidden_size=int(vision["hidden_size"]),
                vision_intermediate_size=int(vision["intermediate_size"]),
                vision_layers=int(vision_layers),
                # An index into transformers' hidden_states, which begin with the embeddings.
                vision_layers_run=int(layer if layer >= 0 else vision_layers + 1 + layer),
                vision_heads=int(vision["num_attention_heads"]),
                vision_activation=str(vision["hidden_act"]),
                frames_per_clip=int(vision["num_frames"]) if vision.get("add_time_attn") else 1,
                hidden_size=int(text["hidden_size"]),
                intermediate_size=int(text["intermediate_size"]),
                layers=int(text["num_hidden_layers"]),
                heads=int(heads),
                key_value_heads=int(text.get("num_key_value_heads") or heads),
                head_dim=int(text.get("head_dim") or text["hidden_size"] // heads),
                vocab_size=int(text["vocab_size"]),
                tie_word_embeddings=bool(text.get("tie_word_embeddings", False)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadArgument(
                f"the config is not of a Video-LLaVA: {type(error).__name__}: {error}",
                hint="give the config.json of a checkpoint in transformers' layout",
            ) from error

    @property
    def tokens_per_frame(self) -> int:
        """S, tokens of one uncompressed frame, CLS included."""
        return (self.image_size // self.patch_size) ** 2 + 1

    def model_shape(self, name: str, dtype: str, frames_at_once: int = FRAMES_AT_ONCE["cpu"]) -> ModelShape:
        """Derive the sizes and FLOP that costs depend on.

        A multiply-add counts as 2 FLOP; norms, activations and softmax are left out. With hidden size d and intermediate
        size m, a token in a layer takes ``4 d^2 + 2 d m`` multiply-adds in the vision tower (two MLP matrices), and
        ``2 d (h + k) + 3 d m`` in the language model (three MLP matrices; h query and k key values per token). Attention
        to another token takes ``2 h`` more.

        Args:
            name: the model's name.
            dtype: float32, float16 or bfloat16.
            frames_at_once: batch size of the vision tower, in frames; rounded down to whole clips, at least one.

        Raises:
            BadArgument: the precision is unknown.
        """
        if dtype not in BYTES_OF:
            raise BadArgument(f"unknown dtype {dtype!r}", hint=f"use one of {', '.join(BYTES_OF)}")
        size, vision, value_bytes = self.tokens_per_frame, self.vision_hidden_size, BYTES_OF[dtype]
        clip, queries, keys = self.frames_per_clip, self.heads * self.head_dim, self.key_value_heads * self.head_dim
        vision_token = 4 * vision**2 + 2 * vision * self.vision_intermediate_size + 2 * size * vision
        if clip > 1:
            vision_token += 4 * vision**2 + 2 * clip * vision
        patches = (size - 1) * 3 * self.patch_size**2 * vision
        token = 2 * self.hidden_size * (queries + keys) + 3 * self.hidden_size * self.intermediate_size
        activations = activation_values(
            num_tokens=size,
            hidden_size=vision,
            intermediate_size=self.vision_intermediate_size,
            activation=self.vision_activation,
            image_size=self.image_size,
        )
        return ModelShape(
            name=name,
            tokens_per_frame=size,
            frames_per_clip=clip,
            frames_at_once=max(1, frames_at_once // clip) * clip,
            prompt_tokens=_PROMPT_TOKENS,
            frame_flop=2.0 * (patches + self.vision_layers_run * size * vision_token),
            visual_token_flop=2.0 * (vision * self.hidden_size + self.hidden_size**2),
            token_flop=2.0 * self.layers * token,
            pair_flop=4.0 * self.layers * queries,
            weight_bytes=value_bytes * self.num_weights,
            language_bytes=value_bytes * self._language_weights,
            frame_bytes=value_bytes * activations,
            feature_bytes=size * (value_bytes * vision + _FLOAT32_BYTES * (vision // self.vision_heads + 1)),
            token_bytes=value_bytes * 2 * self.layers * keys,
            prefill_token_bytes=value_bytes * (3 * self.intermediate_size + 4 * self.hidden_size + queries + 2 * keys),
            packed_width=vision,
        )

    @property
    def num_weights(self) -> int:
        """All weights, those of the image tower included, which checkpoints contain too."""
        projector = (self.vision_hidden_size + 1 + self.hidden_size + 1) * self.hidden_size
        embeddings = 0 if self.tie_word_embeddings else self.vocab_size * self.hidden_size
        towers = self._vision_weights(1) + self._vision_weights(self.frames_per_clip)
        return towers + projector + self._language_weights + embeddings

    def _vision_weights(self, frames_per_clip: int) -> int:
        width, inner = self.vision_hidden_size, self.vision_intermediate_size
        attention, norm = 4 * (width + 1) * width, 2 * width
        layer = attention + (width + 1) * inner + (inner + 1) * width + 2 * norm
        if frames_per_clip > 1:
            layer += attention + norm + frames_per_clip * width
        embeddings = width + 3 * self.patch_size**2 * width + self.tokens_per_frame * width
        return embeddings + self.vision_layers * layer + 2 * norm

    @property
    def _language_weights(self) -> int:
        """Weights that each new token reads: layers, the last norm and the output embeddings."""
        width, queries, keys = self.hidden_size, self.heads * self.head_dim, self.key_value_heads * self.head_dim
        layer = 2 * width * (queries + keys) + 3 * width * self.intermediate_size + 2 * width
        return self.layers * layer + width + self.vocab_size * width


PORT_7B = Architecture(
    image_size=224,
    patch_size=14,
    vision_hidden_size=1024,
    vision_intermediate_size=4096,
    vision_layers=24,
    vision_layers_run=23,
    vision_heads=16,
    vision_activation="quick_gelu",
    hidden_size=4096,
    intermediate_size=11008,
    layers=32,
    heads=32,
    key_value_heads=32,
    head_dim=128,
    vocab_size=32064,
)
"""Video-LLaVA-7B as ported to transformers: CLIP's ViT-L/14 and Vicuna-7B v1.5."""

ORIGINAL_7B = replace(PORT_7B, vision_activation="gelu", frames_per_clip=8, vocab_size=32000)
"""The original Video-LLaVA-7B, whose vision tower attends over time."""

ARCHITECTURES: Mapping[str, Architecture] = {
    "LanguageBind/Video-LLaVA-7B": ORIGINAL_7B,
    "LanguageBind/Video-LLaVA-7B-hf": PORT_7B,
}
"""Models that are known without their config, by their names on the hub."""

VIDEO_LLAVA_7B = PORT_7B.model_shape("LanguageBind/Video-LLaVA-7B-hf", "float16", FRAMES_AT_ONCE["cuda"])
"""The model that is assumed if none is named: in half precision on CUDA."""
