"""The original Video-LLaVA: a video tower that attends over time, kept where transformers' port leaves it out.

Its checkpoint has a layout of its own, that of LLaVA 1.5 (``PKU-YuanGroup/Video-LLaVA``, ``videollava/model``): a flat
config of a LLaMA with ``mm_…`` keys, pickled shards, and no config of the towers, which its code takes from the
checkpoints that ``mm_video_tower`` and ``mm_image_tower`` name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CLIPVisionConfig, LlamaConfig, VideoLlavaConfig, VideoLlavaForConditionalGeneration

from vidzip.encoders import LanguageBindPreprocessor, LanguageBindTower
from vidzip.errors import BadModelFolder

MODEL_TYPE = "video_llava_temporal"
"""What the config of a converted folder calls the model, so that no other loader takes it for one without time."""

TOWER_KEYS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
    "add_time_attn",
    "num_frames",
)
"""What has to be known of a video tower."""

KNOWN_TOWERS: Mapping[str, Mapping[str, Any]] = {
    "LanguageBind_Video_merge": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "add_time_attn": True,
        "num_frames": 8,
    }
}
"""The published tower's config, for checkpoints whose folder does not hold it."""

_LLAMA_KEYS = (
    "attention_bias",
    "bos_token_id",
    "eos_token_id",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "pad_token_id",
    "rms_norm_eps",
    "tie_word_embeddings",
    "vocab_size",
)
_NEEDED = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size")

_NAMES = (
    (re.compile(r"^model\.(video|image)_tower\.\1_tower\."), r"model.\1_tower."),
    (re.compile(r"^model\.mm_projector\.0\."), "model.multi_modal_projector.linear_1."),
    (re.compile(r"^model\.mm_projector\.2\."), "model.multi_modal_projector.linear_2."),
    (re.compile(r"^model\.(embed_tokens|layers|norm)\."), r"model.language_model.\1."),
)
"""Beginnings of the original's names of weights, and of ours; ``lm_head`` is the same."""


class TemporalVideoLlavaConfig(VideoLlavaConfig):
    """transformers' config of Video-LLaVA; its vision config also says ``add_time_attn`` and ``num_frames``."""

    model_type = MODEL_TYPE


class TemporalVideoLlava(VideoLlavaForConditionalGeneration):
    """transformers' Video-LLaVA, with the original's video tower in the place of CLIP's."""

    config_class = TemporalVideoLlavaConfig

    def __init__(self, config: VideoLlavaConfig) -> None:
        super().__init__(config)
        vision: Any = config.vision_config
        self.model.video_tower = LanguageBindTower(vision)
        self.post_init()  # type: ignore[no-untyped-call]


def is_original(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's config is of the original's layout."""
    return "mm_video_tower" in config


def original_name(name: str) -> str:
    """Rename a weight of the original's layout to what it is called here."""
    for pattern, replacement in _NAMES:
        renamed, count = pattern.subn(replacement, name)
        if count:
            return renamed
    return name


def read_original_config(folder: Path, config: Mapping[str, Any]) -> TemporalVideoLlavaConfig:
    """Read what an original checkpoint says of itself.

    The video tower's config is looked for in the config's own ``video_tower_config``, in the folder that
    ``mm_video_tower`` names, in one of that name within or beside the checkpoint, and last in :data:`KNOWN_TOWERS`.

    Raises:
        BadModelFolder: a setting is missing or not known, or the tower's config is nowhere.
    """
    lacking = [key for key in _NEEDED if key not in config]
    if lacking:
        raise BadModelFolder(
            f"{folder / 'config.json'} lacks {', '.join(lacking)}", hint="fetch the checkpoint's config again"
        )
    known = {
        "mm_projector_type": ("mlp2x_gelu",),
        "mm_use_im_start_end": (False, None),
        "mm_use_im_patch_token": (False, None),
    }
    for key, values in known.items():
        if config.get(key) not in values:
            raise BadModelFolder(
                f"{folder} says {key} is {config.get(key)!r}, and only {values[0]!r} is known",
                hint="give a checkpoint made as LanguageBind/Video-LLaVA-7B was",
            )
    layer = config.get("mm_vision_select_layer", -2)
    if isinstance(layer, bool) or not isinstance(layer, int):
        raise BadModelFolder(
            f"{folder} says mm_vision_select_layer is {layer!r}", hint="one layer is needed, such as -2"
        )
    tower = _tower_config(folder, config)
    try:
        vision = CLIPVisionConfig(**{key: tower[key] for key in TOWER_KEYS})
        settings = {key: config[key] for key in _LLAMA_KEYS if config.get(key) is not None}
        text = LlamaConfig(**settings, rope_parameters=_rope(config))
        return TemporalVideoLlavaConfig(
            vision_config=vision,
            text_config=text,
            vision_feature_layer=layer,
            projector_hidden_act="gelu",
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        )
    except (TypeError, ValueError) as error:
        raise BadModelFolder(f"the config in {folder} is not usable: {error}", hint="fetch it again") from error


def original_preprocessor(config: VideoLlavaConfig) -> LanguageBindPreprocessor:
    """The original's preparation of pictures, for its tower's size."""
    vision: Any = config.vision_config
    size = vision.image_size
    return LanguageBindPreprocessor(shortest_edge=size, crop_height=size, crop_width=size)


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """How positions turn, in today's words: a base, and how longer texts than the trained ones are scaled, if at all."""
    scaling = dict(config.get("rope_scaling") or {})
    kind = scaling.pop("type", scaling.pop("rope_type", "default"))
    return {"rope_theta": config.get("rope_theta", 10000.0), "rope_type": kind, **scaling}


def _tower_config(folder: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(config["mm_video_tower"])
    tower = config.get("video_tower_config")
    last = Path(name).name
    places = [folder / name, folder / last, folder.parent / last]
    for place in places:
        if tower is None and (place / "config.json").is_file():
            tower = _vision_settings(place / "config.json")
    if tower is None:
        tower = KNOWN_TOWERS.get(last)
    if tower is None:
        raise BadModelFolder(
            f"{folder} names the video tower {name!r}, whose config is not there",
            hint=f"put that tower's config.json into {places[1]}",
        )
    lacking = [key for key in TOWER_KEYS if key not in tower]
    if lacking:
        raise BadModelFolder(
            f"the config of the video tower {name!r} lacks {', '.join(lacking)}", hint="fetch that tower's config again"
        )
    return tower


def _vision_settings(file: Path) -> Mapping[str, Any]:
    """Read a tower's config, or the part of a whole LanguageBind's that is about vision."""
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        part = settings.get("vision_config", settings)
    except (OSError, ValueError, AttributeError) as error:
        raise BadModelFolder(f"{file} cannot be read: {error}", hint="fetch it again") from error
    if not isinstance(part, dict):
        raise BadModelFolder(f"{file} holds no settings", hint="fetch it again")
    return part
