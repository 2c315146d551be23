"""The original Video-LLaVA, ``LanguageBind/Video-LLaVA-7B``: its video tower attends over time, unlike the port's.

Its checkpoint has the layout of LLaVA-1.5 (``PKU-YuanGroup/Video-LLaVA``, ``videollava/model``): a flat LLaMA config with
``mm_…`` keys, pickled weights, and no configs of the towers; its code reads them from the checkpoints named by
``mm_video_tower`` and ``mm_image_tower``. ``vidzip convert`` writes it in transformers' layout.
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
"""``model_type`` of a converted folder; other loaders must not take it for the port, which has no attention over time."""

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
"""The system prompt of the conversation template ``llava_v1``."""

IMAGE_TEXT = "<image>"
"""Marks a frame in its prompt; its code splits the text there before tokenizing."""

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
"""Configs of published towers, for checkpoint folders without one."""

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
_REQUIRED_KEYS = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size")

_RENAMED_PREFIXES = (
    (re.compile(r"^model\.(video|image)_tower\.\1_tower\."), r"model.\1_tower."),
    (re.compile(r"^model\.mm_projector\.0\."), "model.multi_modal_projector.linear_1."),
    (re.compile(r"^model\.mm_projector\.2\."), "model.multi_modal_projector.linear_2."),
    (re.compile(r"^model\.(embed_tokens|layers|norm)\."), r"model.language_model.\1."),
)
"""Prefixes of weight names in the original, and in transformers' layout; ``lm_head`` is the same in both."""


class TemporalVideoLlavaConfig(VideoLlavaConfig):
    """transformers' Video-LLaVA config; its vision config also has ``add_time_attn`` and ``num_frames``."""

    model_type = MODEL_TYPE


class TemporalVideoLlava(VideoLlavaForConditionalGeneration):
    """transformers' Video-LLaVA with the original's video tower instead of CLIP's."""

    config_class = TemporalVideoLlavaConfig
    _no_split_modules = [LanguageBindLayer.__name__]  # noqa: RUF012 - declared so by transformers

    def __init__(self, config: VideoLlavaConfig) -> None:
        super().__init__(config)
        vision: Any = config.vision_config
        self.model.video_tower = LanguageBindTower(vision)
        self.post_init()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, kw_only=True, eq=False)
class OriginalVideoLlava(VideoLlava):
    """The original, or the original converted to transformers' layout.

    Its code splits the prompt at every frame's ``<image>`` and tokenizes the pieces separately, with the start token
    in the first piece only. The eight frames are adjacent, so that two pieces contain text.
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
            tokenizer = load_original_tokenizer(checkpoint, config)
            weights = read_original_weights(folder)
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
        """Texts with a special meaning for the model, ``<image>`` included."""
        return {*special_texts(self.tokenizer), IMAGE_TEXT}


def load_original_tokenizer(checkpoint: Checkpoint, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """Load an original checkpoint's LLaMA tokenizer as the published code does.

    ``legacy`` is true by default, as in the transformers version that the published code pins: text after a special
    token then gets a space of its own.

    Raises:
        BadModelFolder, NotInstalled: as :meth:`Checkpoint.tokenizer_for`.
    """
    file = checkpoint.folder / "tokenizer_config.json"
    settings = read_settings(file) if file.is_file() else {}
    return checkpoint.tokenizer_for(config, LlamaTokenizer, legacy=settings.get("legacy", True))


def is_original(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's config has the original's layout."""
    return "mm_video_tower" in config


def translate_name(name: str) -> str:
    """Translate an original weight name to transformers' layout; names in that layout stay."""
    for pattern, replacement in _RENAMED_PREFIXES:
        renamed, count = pattern.subn(replacement, name)
        if count:
            return renamed
    return name


def read_original_weights(folder: Path) -> dict[str, Tensor]:
    """Read an original checkpoint's weights, by their names in transformers' layout.

    Raises:
        BadModelFolder: a file is missing or cannot be read, or a weight is stored twice.
    """
    weights: dict[str, Tensor] = {}
    for name, weight in stored_weights(folder):
        translated = translate_name(name)
        if translated in weights:
            raise BadModelFolder(
                f"{folder} has the weight {translated} under two names", hint="download the checkpoint again"
            )
        weights[translated] = weight
    return weights


def read_original_config(folder: Path, config: Mapping[str, Any]) -> TemporalVideoLlavaConfig:
    """Convert an original checkpoint's config to transformers' layout.

    The video tower's config is, in this order: ``video_tower_config`` in the config itself; ``config.json`` in the folder
    ``mm_video_tower``, or in a folder of that name inside or next to the checkpoint; the one in :data:`KNOWN_TOWERS`.

    Args:
        folder: the checkpoint.
        config: the content of its ``config.json``.

    Raises:
        BadModelFolder: a setting is missing or unsupported, or there is no config of the tower.
    """
    missing = [key for key in _REQUIRED_KEYS if key not in config]
    if missing:
        raise BadModelFolder(
            f"{folder / 'config.json'} has no {', '.join(missing)}", hint="download the checkpoint's config again"
        )
    supported = {
        "mm_projector_type": ("mlp2x_gelu",),
        "mm_use_im_start_end": (False, None),
        "mm_use_im_patch_token": (False, None),
    }
    for key, values in supported.items():
        if config.get(key) not in values:
            raise BadModelFolder(
                f"{key} is {config.get(key)!r} in {folder}, but only {values[0]!r} is supported",
                hint="give a checkpoint like LanguageBind/Video-LLaVA-7B",
            )
    tower = _tower_config(folder, config)
    try:
        with quiet_libraries():
            vision = CLIPVisionConfig(**{key: tower[key] for key in TOWER_KEYS})
            settings = {key: config[key] for key in _LLAMA_KEYS if config.get(key) is not None}
            return TemporalVideoLlavaConfig(
                vision_config=vision,
                text_config=LlamaConfig(**settings, rope_parameters=_rope_parameters(config)),
                vision_feature_layer=_feature_layer(folder, config, vision.num_hidden_layers),
                projector_hidden_act="gelu",
                tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            )
    except BadModelFolder:
        raise
    except Exception as error:
        raise BadModelFolder(
            f"the config in {folder} is not usable: {first_line(error)}", hint="download it again"
        ) from error


def _feature_layer(folder: Path, config: Mapping[str, Any], num_layers: int) -> int:
    """Read which layer's output is projected: counted from 1, or negative from the end."""
    layer: Any = config.get("mm_vision_select_layer", -2)
    if isinstance(layer, bool) or layer not in [*range(1, num_layers + 1), *range(-num_layers, 0)]:
        raise BadModelFolder(
            f"mm_vision_select_layer is {layer!r} in {folder}, but its tower has {num_layers} layers",
            hint="a layer of the tower is needed, such as -2",
        )
    return int(layer)


def original_preprocessor(config: VideoLlavaConfig) -> LanguageBindPreprocessor:
    """Make the original's preprocessor, for the picture size of its tower."""
    vision: Any = config.vision_config
    size = vision.image_size
    return LanguageBindPreprocessor(shortest_edge=size, crop_height=size, crop_width=size)


def _rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the parameters of rotary positions, in the form of transformers 5."""
    scaling = dict(config.get("rope_scaling") or {})
    kind = scaling.pop("type", scaling.pop("rope_type", "default"))
    return {"rope_theta": config.get("rope_theta", 10000.0), "rope_type": kind, **scaling}


def _tower_config(folder: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    name = config["mm_video_tower"]
    last = Path(name).name if isinstance(name, str) else ""
    if not last:
        raise BadModelFolder(
            f"mm_video_tower is {name!r} in {folder}, but must name the video tower",
            hint="give a checkpoint like LanguageBind/Video-LLaVA-7B",
        )
    folders = [folder / name, folder / last, folder.parent / last]
    files = [one / "config.json" for one in folders if (one / "config.json").is_file()]
    tower: Mapping[str, Any] | None
    if config.get("video_tower_config") is not None:
        tower = _vision_config(config["video_tower_config"], f"video_tower_config in {folder / 'config.json'}")
    elif files:
        tower = _vision_config(read_settings(files[0]), files[0])
    else:
        tower = KNOWN_TOWERS.get(last)
    if tower is None:
        raise BadModelFolder(
            f"{folder} has the video tower {name!r}, but no config of it was found",
            hint=f"put that tower's config.json into {folders[1]}",
        )
    missing = [key for key in TOWER_KEYS if key not in tower]
    if missing:
        raise BadModelFolder(
            f"the config of the video tower {name!r} of {folder} has no {', '.join(missing)}",
            hint="download that tower's config again",
        )
    return tower


def _vision_config(settings: Any, source: Path | str) -> Mapping[str, Any]:
    """Return a tower's config, which may be the vision part of a LanguageBind config."""
    config = settings.get("vision_config", settings) if isinstance(settings, dict) else settings
    if not isinstance(config, dict):
        raise BadModelFolder(f"{source} is not the config of a video tower", hint="download it again")
    return config
