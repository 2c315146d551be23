"""The original Video-LLaVA, ``LanguageBind/Video-LLaVA-7B``: its video tower attends over time, unlike the port's.

Its checkpoint has the layout of LLaVA-1.5 (``PKU-YuanGroup/Video-LLaVA``, ``videollava/model``): a flat LLaMA config with
``mm_…`` keys, pickled shards, and no config of the towers, which its code takes from the checkpoints that
``mm_video_tower`` and ``mm_image_tower`` name. ``vidzip convert`` writes it in transformers' layout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
)

from vidzip.encoders import FramePreprocessor, LanguageBindPreprocessor, LanguageBindTower, read_preprocessor
from vidzip.encoders.languagebind import TOWER_KEYS, LanguageBindLayer
from vidzip.errors import BadModelFolder
from vidzip.models.checkpoint import Checkpoint, first_line, quiet_libraries, read_settings
from vidzip.models.placing import Placement
from vidzip.models.prompting import Prompt, check_question, special_texts
from vidzip.models.video_llava import VideoLlava, check_picture_size
from vidzip.models.weights import stored_weights
from vidzip.video.sampling import Policy

MODEL_TYPE = "video_llava_temporal"
"""``model_type`` of a converted folder, so that no other loader takes it for the port without attention over time."""

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
"""The system prompt of its conversation ``llava_v1``."""

IMAGE_TEXT = "<image>"
"""The place of a frame in its prompt; plain text for its tokenizer, which never sees it."""

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
    _no_split_modules = [LanguageBindLayer.__name__]  # noqa: RUF012 - transformers declares it so

    def __init__(self, config: VideoLlavaConfig) -> None:
        super().__init__(config)
        vision: Any = config.vision_config
        self.model.video_tower = LanguageBindTower(vision)
        self.post_init()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, kw_only=True, eq=False)
class OriginalVideoLlava(VideoLlava):
    """The original, or the original converted.

    Its code splits the prompt at every frame's ``<image>`` and tokenizes the pieces separately, with the start of text
    in the first piece only. The eight frames stand side by side, so that two pieces contain text.
    """

    title: ClassVar[str] = (
        "the original Video-LLaVA (its config names an mm_video_tower, such as LanguageBind/Video-LLaVA-7B), or one "
        "that vidzip converted"
    )
    sampling_policy: ClassVar[Policy] = "linspace"

    @classmethod
    def matches(cls, checkpoint: Checkpoint) -> bool:
        """Whether the config is in the original's layout, or that of a converted folder."""
        return is_original(checkpoint.config) or checkpoint.config.get("model_type") == MODEL_TYPE

    @classmethod
    def load(cls, checkpoint: Checkpoint, placement: Placement) -> Self:
        """Load either layout, see :meth:`ModelFamily.load`."""
        folder, settings = checkpoint.folder, checkpoint.config
        preprocessor: FramePreprocessor
        if is_original(settings):
            config, outline = checkpoint.outline(TemporalVideoLlava, lambda: read_original_config(folder, settings))
            preprocessor = original_preprocessor(config)
            tokenizer = original_tokenizer(checkpoint, config)
            weights = original_weights(folder)
            checkpoint.check_weights(outline, weights)
            network = checkpoint.load_weights(outline, placement, weights)
            stops = settings.get("eos_token_id", tokenizer.eos_token_id)
            network.generation_config = GenerationConfig(eos_token_id=stops)
        else:
            config, outline = checkpoint.outline(
                TemporalVideoLlava, lambda: TemporalVideoLlavaConfig.from_dict(settings)
            )
            preprocessor = read_preprocessor(folder)
            tokenizer = checkpoint.tokenizer_for(config)
            checkpoint.check_weights(outline, dict(stored_weights(folder)))
            network = checkpoint.load_weights(outline, placement)
        return cls(network=network, tokenizer=tokenizer, preprocessor=check_picture_size(folder, preprocessor, config))

    def prompt(self, question: str) -> Prompt:
        """Tokenize the first question about a video."""
        check_question(question, self.reserved_texts)
        start = self.tokenizer.bos_token_id
        pieces = [list(self.tokenizer(text)["input_ids"]) for text in (f"{SYSTEM} USER: ", f"\n{question} ASSISTANT:")]
        if start is None or any(ids[:1] != [start] for ids in pieces):
            raise BadModelFolder(
                "the tokenizer does not begin texts with its start token",
                hint="use the tokenizer files that came with the checkpoint",
            )
        before, after = pieces
        return Prompt(before=tuple(before), after=tuple(after[1:]))

    @property
    def reserved_texts(self) -> set[str]:
        """Texts with a special meaning for the model, the place of a frame included."""
        return {*special_texts(self.tokenizer), IMAGE_TEXT}


def original_tokenizer(checkpoint: Checkpoint, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """Load an original checkpoint's LLaMA tokenizer as the published code does.

    If its config does not set ``legacy``, it is true, as in the transformers version that the published code pins: text
    after a special token then gets a space of its own.

    Raises:
        BadModelFolder, NotInstalled: as :meth:`Checkpoint.tokenizer_for`.
    """
    file = checkpoint.folder / "tokenizer_config.json"
    settings = read_settings(file) if file.is_file() else {}
    return checkpoint.tokenizer_for(config, LlamaTokenizer, legacy=settings.get("legacy", True))


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


def original_weights(folder: Path) -> dict[str, Tensor]:
    """Read an original checkpoint's weights, by our names, as :func:`vidzip.models.weights.stored_weights` does.

    Raises:
        BadModelFolder: a file is missing or cannot be read, or two weights have the same place.
    """
    weights: dict[str, Tensor] = {}
    for name, weight in stored_weights(folder):
        ours = original_name(name)
        if ours in weights:
            raise BadModelFolder(
                f"{folder} holds the weight {name} twice, by another name too", hint="fetch the checkpoint again"
            )
        weights[ours] = weight
    return weights


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
    tower = _tower_config(folder, config)
    try:
        with quiet_libraries():
            vision = CLIPVisionConfig(**{key: tower[key] for key in TOWER_KEYS})
            settings = {key: config[key] for key in _LLAMA_KEYS if config.get(key) is not None}
            return TemporalVideoLlavaConfig(
                vision_config=vision,
                text_config=LlamaConfig(**settings, rope_parameters=_rope(config)),
                vision_feature_layer=_layer(folder, config, vision.num_hidden_layers),
                projector_hidden_act="gelu",
                tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            )
    except BadModelFolder:
        raise
    except Exception as error:
        raise BadModelFolder(
            f"the config in {folder} is not usable: {first_line(error)}", hint="fetch it again"
        ) from error


def _layer(folder: Path, config: Mapping[str, Any], layers: int) -> int:
    """The layer whose output is wanted: one from the start, where 0 is what goes in, or from the end."""
    layer: Any = config.get("mm_vision_select_layer", -2)
    if isinstance(layer, bool) or layer not in [*range(1, layers + 1), *range(-layers, 0)]:
        raise BadModelFolder(
            f"{folder} says mm_vision_select_layer is {layer!r}, and its tower has {layers} layers",
            hint="one of these layers is needed, such as -2",
        )
    return int(layer)


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
    name = config["mm_video_tower"]
    last = Path(name).name if isinstance(name, str) else ""
    if not last:
        raise BadModelFolder(
            f"{folder} names no video tower: mm_video_tower is {name!r}",
            hint="give a checkpoint made as LanguageBind/Video-LLaVA-7B was",
        )
    places = [folder / name, folder / last, folder.parent / last]
    files = [place / "config.json" for place in places if (place / "config.json").is_file()]
    tower: Mapping[str, Any] | None
    if config.get("video_tower_config") is not None:
        tower = _vision_part(config["video_tower_config"], f"video_tower_config in {folder / 'config.json'}")
    elif files:
        tower = _vision_part(read_settings(files[0]), files[0])
    else:
        tower = KNOWN_TOWERS.get(last)
    if tower is None:
        raise BadModelFolder(
            f"{folder} names the video tower {name!r}, whose config is not there",
            hint=f"put that tower's config.json into {places[1]}",
        )
    lacking = [key for key in TOWER_KEYS if key not in tower]
    if lacking:
        raise BadModelFolder(
            f"the config of the video tower {name!r} of {folder} lacks {', '.join(lacking)}",
            hint="fetch that tower's config again",
        )
    return tower


def _vision_part(settings: Any, where: Path | str) -> Mapping[str, Any]:
    """The settings of a tower, or those of a whole LanguageBind that are about vision."""
    part = settings.get("vision_config", settings) if isinstance(settings, dict) else settings
    if not isinstance(part, dict):
        raise BadModelFolder(f"{where} holds no settings of a video tower", hint="fetch it again")
    return part
