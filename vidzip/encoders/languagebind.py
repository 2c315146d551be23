"""The video tower of the original Video-LLaVA: CLIP's, with attention over time in every layer.

It is LanguageBind's (arXiv:2310.01852), as used by Video-LLaVA (arXiv:2311.10122). Input is one frame per row, as for
CLIP; ``num_frames`` consecutive frames are one clip. At the start of a layer, every position of the picture, CLS
included, attends to the same position in all frames of its clip. Module names are those of the published weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import CLIPAttention, CLIPEncoderLayer
from transformers.utils.output_capturing import OutputRecorder

from vidzip.encoders.weights import check_weights, is_buffer
from vidzip.errors import BadArgument, BadModelFolder

_COUNTS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "num_frames",
)
TOWER_KEYS = (*_COUNTS, "hidden_act", "layer_norm_eps", "add_time_attn")
"""Required keys of a tower's config."""


def languagebind_tower(config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> LanguageBindTower:
    """Build the tower around its published weights.

    Args:
        config: the vision config of the checkpoint: hidden_size, intermediate_size, num_hidden_layers,
            num_attention_heads, image_size and patch_size in pixels, hidden_act, layer_norm_eps, add_time_attn (true)
            and num_frames, the frames of a clip. Other keys are ignored.
        state_dict: every weight, by its name after ``video_tower.video_tower.`` in the shards. The tower uses these
            tensors, not copies.

    Returns:
        The tower in evaluation mode, in the dtype and on the device of its weights.

    Raises:
        BadArgument: the config lacks a key, has an invalid value, or describes a tower without attention over time.
        BadModelFolder: weights are missing, unexpected, of another shape, or of several dtypes.
    """
    with torch.device("meta"):
        tower: Any = LanguageBindTower(_vision_config(config))
    weights = {name: weight for name, weight in state_dict.items() if not is_buffer(name)}
    check_weights(
        "of the video tower",
        tower.state_dict(),
        weights,
        hint="give every weight of the original tower, by its name after 'video_tower.video_tower.'",
    )
    dtypes = {str(weight.dtype) for weight in weights.values()}
    if len(dtypes) > 1:
        raise BadModelFolder(
            f"the video tower's weights have several dtypes: {', '.join(sorted(dtypes))}",
            hint="convert all of them to one floating-point dtype",
        )
    tower.load_state_dict(weights, assign=True)
    embeddings = tower.embeddings
    embeddings.position_ids = torch.arange(embeddings.num_positions, device=tower.device)[None]
    ready: LanguageBindTower = tower.eval()
    return ready


class LanguageBindTower(CLIPVisionModel):
    """CLIP's vision tower with attention over time in every layer.

    ``pooler_output`` has one row per frame, as CLIP's; the original averages it over a clip.

    Args:
        config: CLIP's, with two more keys: ``add_time_attn``, which is true, and ``num_frames``, the frames of a clip.

    Raises:
        BadArgument: one of the two is missing or invalid.
    """

    # A layer has two attentions; the returned maps are those over the picture, as CLIP's.
    _can_record_outputs = {  # noqa: RUF012 - transformers declares it so
        "hidden_states": CLIPEncoderLayer,
        "attentions": OutputRecorder(CLIPAttention, index=1, layer_name="self_attn"),
    }

    def __init__(self, config: CLIPVisionConfig) -> None:
        _check_time(vars(config))
        super().__init__(config)
        self.encoder.layers = nn.ModuleList(LanguageBindLayer(config) for _ in range(config.num_hidden_layers))
        self.post_init()  # type: ignore[no-untyped-call]

    @property
    def frames_per_clip(self) -> int:
        """Consecutive frames that attend to each other; only multiples of this number can be encoded."""
        return int(self.config.num_frames)

    def forward(
        self, pixel_values: Float[Tensor, "frames 3 height width"], **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """Encode frames, (F, 3, H, W), in clips of ``frames_per_clip``.

        Raises:
            BadArgument: F is not a multiple of ``frames_per_clip``.
        """
        shape = tuple(pixel_values.shape)
        if len(shape) != 4:
            raise BadArgument(
                f"pixel_values has shape {shape}, but must be (frames, 3, height, width)",
                hint="put the frames of all clips one after another",
            )
        clip = self.frames_per_clip
        if shape[0] % clip:
            raise BadArgument(
                f"{shape[0]} frames were given, but this tower encodes clips of {clip}",
                hint=f"repeat the last frame, or plan with frames_per_clip={clip}",
            )
        outputs: BaseModelOutputWithPooling = super().forward(pixel_values, **kwargs)
        return outputs

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[no-untyped-call]
        if isinstance(module, LanguageBindLayer):
            init.normal_(module.temporal_embedding, std=module.embed_dim**-0.5)


class LanguageBindLayer(CLIPEncoderLayer):
    """A layer with attention over time, without an MLP of its own, before CLIP's attention and MLP."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__(config)
        self.temporal_embedding = nn.Parameter(torch.zeros(1, config.num_frames, config.hidden_size))
        self.temporal_layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.temporal_attn = CLIPAttention(config)

    def forward(
        self, hidden_states: Float[Tensor, "frames tokens dim"], attention_mask: Any, **kwargs: Any
    ) -> Float[Tensor, "frames tokens dim"]:
        """Run the layer on frames, (F, S, D); F is a multiple of the clip length."""
        over_time = self._attend_over_time(hidden_states, **kwargs)
        return super().forward(over_time, attention_mask, **kwargs)

    def _attend_over_time(
        self, hidden: Float[Tensor, "frames tokens dim"], **kwargs: Any
    ) -> Float[Tensor, "frames tokens dim"]:
        frames, tokens, dim = hidden.shape
        clip = self.temporal_embedding.shape[1]
        # One row for each position of each clip: its tokens in all frames of the clip.
        rows = hidden.reshape(frames // clip, clip, tokens, dim).transpose(1, 2).reshape(-1, clip, dim)
        if clip > 1:  # the published code omits the embedding for clips of one frame
            rows = rows + self.temporal_embedding
        attended: tuple[Tensor, Any] = self.temporal_attn(
            self.temporal_layer_norm1(rows), attention_mask=None, **kwargs
        )
        rows = rows + attended[0]
        return rows.reshape(frames // clip, tokens, clip, dim).transpose(1, 2).reshape(frames, tokens, dim)


def _vision_config(config: Mapping[str, Any]) -> CLIPVisionConfig:
    missing = [name for name in TOWER_KEYS if name not in config and name != "add_time_attn"]
    if missing:
        raise BadArgument(f"the tower's config lacks {', '.join(missing)}", hint="give the checkpoint's vision config")
    _check_time(config)
    for name in _COUNTS:
        _check_count(config, name)
    size, heads, patch = (config[name] for name in ("hidden_size", "num_attention_heads", "patch_size"))
    if size % heads or config["image_size"] < patch:
        raise BadArgument(
            f"a tower of hidden_size {size}, {heads} heads, image_size {config['image_size']} and patch_size {patch}",
            hint="hidden_size must be a multiple of the heads, and image_size at least patch_size",
        )
    act, eps = config["hidden_act"], config["layer_norm_eps"]
    if not isinstance(act, str) or act not in ACT2FN:
        raise BadArgument(f"hidden_act is {act!r}", hint=f"use one of {', '.join(sorted(ACT2FN))}")
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 < eps < math.inf:
        raise BadArgument(f"layer_norm_eps is {eps!r}", hint="give a small number above 0, such as 1e-5")
    settings: dict[str, Any] = {name: config[name] for name in _COUNTS} | {
        "hidden_act": act,
        "layer_norm_eps": float(eps),
        "add_time_attn": True,
        "attn_implementation": "sdpa",
    }
    return CLIPVisionConfig(**settings)


def _check_time(config: Mapping[str, Any]) -> None:
    if config.get("add_time_attn") is not True:
        value = repr(config["add_time_attn"]) if "add_time_attn" in config else "missing"
        raise BadArgument(
            f"add_time_attn is {value}, but this tower attends over time",
            hint="give the config of the original video tower; one without attention over time is a CLIPVisionModel",
        )
    _check_count(config, "num_frames")


def _check_count(config: Mapping[str, Any], name: str) -> None:
    value = config.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadArgument(f"{name} is {value!r}", hint="give a whole number, 1 or more")
