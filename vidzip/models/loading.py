"""From a name or a folder to a model that can be asked."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
)
from transformers.utils import logging as transformers_logging

from vidzip.encoders import FramePreprocessor, Preprocessor, read_preprocessor
from vidzip.errors import BadArgument, BadModelFolder, NotInstalled, UnknownModel
from vidzip.models import tiny, tiny_random
from vidzip.models.original import (
    MODEL_TYPE,
    TemporalVideoLlava,
    TemporalVideoLlavaConfig,
    is_original,
    original_name,
    original_preprocessor,
    read_original_config,
)
from vidzip.models.placing import DeviceMap, Placement, place
from vidzip.models.prompting import OriginalPrompting, PortPrompting
from vidzip.models.video_llava import VideoLlava
from vidzip.models.weights import describe, shards, stored_weights

Parts = tuple[VideoLlavaForConditionalGeneration, PreTrainedTokenizerBase, FramePreprocessor]

BUILT_IN: dict[str, Path | Callable[[], Parts]] = {
    "tiny": tiny.CHECKPOINT,
    "tiny-random": tiny_random.build,
}
"""Models that need no download, by name: the folder of a checkpoint that ships, or what builds the model."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ("*.json", "tokenizer*")
_SAFETENSORS, _PICKLES = "*.safetensors", "pytorch_model*.bin"


def load(
    model_id_or_folder: str | os.PathLike[str],
    revision: str | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    *,
    quantize: str | None = None,
    device_map: DeviceMap | None = None,
) -> VideoLlava:
    """Load a Video-LLaVA: transformers' port, the original, or the original converted.

    Which of them it is, its config and the names of its weights say; every weight has to find its place.

    Args:
        model_id_or_folder: a name in :data:`BUILT_IN`, a folder, or a model id of the hub:
            ``"LanguageBind/Video-LLaVA-7B"`` for the original, ``"LanguageBind/Video-LLaVA-7B-hf"`` for the port.
        revision: branch, tag or commit of a model on the hub.
        device: ``"auto"`` takes CUDA, else MPS, else the CPU.
        dtype: ``"auto"`` takes bfloat16 on CUDA (float16 where it lacks bfloat16), float16 on MPS, float32 on a CPU.
        quantize: ``"8bit"`` or ``"4bit"``: the language model's layers, on CUDA, through bitsandbytes.
        device_map: ``"auto"``, or a device by module: for models larger than one device, through accelerate.

    Raises:
        UnknownModel: no such built-in model or folder, and the hub gives out none of that name.
        BadModelFolder: the folder lacks a file or a weight, or holds a model of another kind.
        DeviceUnavailable: the device is not there, or cannot do this.
        NotInstalled: an optional library is needed: for quantising, spreading, or the original's tokenizer.
        BadArgument: an unknown device, dtype or quantisation, or a revision of what has none.
    """
    name = os.fspath(model_id_or_folder)
    placement = place(device, dtype, quantize, device_map)
    is_local = name in BUILT_IN or os.path.isdir(name)
    if is_local and revision is not None:
        raise BadArgument(
            f"revision {revision!r} of {name!r}, which is no model of the hub", hint="leave the revision out"
        )
    source = BUILT_IN.get(name)
    if source is None:
        source = Path(name) if is_local else _download(name, revision)
    if isinstance(source, Path):
        return _load_folder(name, source, placement)
    if placement.is_spread:
        raise BadArgument(f"{name} is too small to be spread or quantised", hint="leave quantize and device_map out")
    return _build(name, source, placement)


def _build(name: str, build: Callable[[], Parts], placement: Placement) -> VideoLlava:
    model, tokenizer, preprocessor = build()
    for weight in model.parameters():
        # Weights alone take the dtype, as in from_pretrained: rounded buffers (the rotary frequencies) would turn
        # distant positions by radians.
        weight.data = weight.data.to(placement.dtype)
    return VideoLlava(
        name=name,
        model=_ready(model, placement),
        tokenizer=tokenizer,
        preprocessor=preprocessor,
        prompting=PortPrompting(tokenizer=tokenizer, video_token_id=model.config.video_token_index),
    )


def _ready(model: Any, placement: Placement) -> VideoLlavaForConditionalGeneration:
    if not placement.is_spread:
        model = model.to(placement.device)
    placed: VideoLlavaForConditionalGeneration = model.eval()
    # generate() fills what a call leaves open from here: a checkpoint's own sampling must not steer greedy decoding.
    placed.generation_config = GenerationConfig(eos_token_id=placed.generation_config.eos_token_id, do_sample=False)
    return placed


def _load_folder(name: str, folder: Path, placement: Placement) -> VideoLlava:
    config = read_config(folder)
    kind = config.get("model_type")
    shards(folder)
    if is_original(config):
        parts = _load_original(folder, config, placement)
    elif kind == MODEL_TYPE:
        parts = _load_converted(folder, config, placement)
    elif kind == VideoLlavaConfig.model_type:
        parts = _load_port(folder, placement)
    else:
        raise BadModelFolder(
            f"{folder} holds a model of type {kind!r}",
            hint="give a Video-LLaVA: transformers' (type 'video_llava', such as Video-LLaVA-7B-hf), the original "
            "(whose config names an mm_video_tower), or one that vidzip converted",
        )
    model, tokenizer, preprocessor = parts
    vision: Any = model.config.vision_config
    if (preprocessor.crop_height, preprocessor.crop_width) != (vision.image_size, vision.image_size):
        raise BadModelFolder(
            f"{folder} crops pictures to {preprocessor.crop_width}x{preprocessor.crop_height}, but its tower takes "
            f"{vision.image_size}x{vision.image_size}",
            hint="use the preprocessor settings that came with the checkpoint",
        )
    is_temporal = isinstance(model, TemporalVideoLlava)
    return VideoLlava(
        name=name,
        model=_ready(model, placement),
        tokenizer=tokenizer,
        preprocessor=preprocessor,
        prompting=OriginalPrompting(tokenizer=tokenizer)
        if is_temporal
        else PortPrompting(tokenizer=tokenizer, video_token_id=model.config.video_token_index),
        policy="linspace" if is_temporal else "middle",
        stored=folder,
    )


def _load_port(folder: Path, placement: Placement) -> Parts:
    preprocessor = Preprocessor.from_folder(folder)
    tokenizer = load_tokenizer(folder)
    return _load_weights(VideoLlavaForConditionalGeneration, folder, placement), tokenizer, preprocessor


def _load_converted(folder: Path, settings: dict[str, Any], placement: Placement) -> Parts:
    preprocessor = read_preprocessor(folder)
    tokenizer = load_tokenizer(folder)
    config = TemporalVideoLlavaConfig.from_dict(settings)
    return _load_weights(TemporalVideoLlava, folder, placement, config=config), tokenizer, preprocessor


def _load_original(folder: Path, settings: dict[str, Any], placement: Placement) -> Parts:
    config = read_original_config(folder, settings)
    tokenizer = load_tokenizer(folder, LlamaTokenizer)
    weights = {original_name(name): weight for name, weight in stored_weights(folder)}
    model = _load_weights(TemporalVideoLlava, folder, placement, config=config, state_dict=weights)
    ends = settings.get("eos_token_id", tokenizer.eos_token_id)
    model.generation_config = GenerationConfig(eos_token_id=ends)
    return model, tokenizer, original_preprocessor(config)


def read_config(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's config.

    Raises:
        BadModelFolder: it is not there, or cannot be read.
    """
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadModelFolder(
            f"{folder} holds no config.json", hint="give a checkpoint's folder, with its config and weights"
        ) from error
    except (OSError, ValueError) as error:
        raise BadModelFolder(f"{file} cannot be read: {error}", hint="fetch the checkpoint again") from error
    if not isinstance(config, dict):
        raise BadModelFolder(f"{file} holds no settings", hint="fetch the checkpoint again")
    return config


def load_tokenizer(folder: Path, kind: Any = AutoTokenizer) -> PreTrainedTokenizerBase:
    """Load a checkpoint's tokenizer.

    Args:
        folder: the checkpoint's.
        kind: transformers' class of tokenizers; the config says which where it is left out.

    Raises:
        BadModelFolder: there is none, or it cannot be used.
        NotInstalled: there is only a SentencePiece model, and what reads it is not installed.
    """
    if (folder / "tokenizer.model").is_file() and not (folder / "tokenizer.json").is_file():
        lacking = [package for package in ("sentencepiece", "google.protobuf") if not _is_installed(package)]
        if lacking:
            raise NotInstalled(
                f"{folder} holds its tokenizer as a SentencePiece model alone, and reading that needs "
                f"{' and '.join(lacking)}",
                hint="pip install 'vidzip[original]'; a converted folder does not need it",
            )
    try:
        with _quietly():
            tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        raise BadModelFolder(
            f"{folder} holds no usable tokenizer: {_first_line(error)}",
            hint="put the checkpoint's tokenizer.json or tokenizer.model there, and its tokenizer_config.json",
        ) from error
    tokenizer.padding_side = "left"
    return tokenizer


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package that would hold it
        return False


def _load_weights(kind: Any, folder: Path, placement: Placement, **options: Any) -> Any:
    place_of_weights = None if "state_dict" in options else folder
    try:
        with _quietly():
            model, report = kind.from_pretrained(
                place_of_weights,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                **placement.loading_options(),
                **options,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BadModelFolder(
            f"the weights in {folder} cannot be loaded: {_first_line(error)}", hint="fetch the checkpoint again, whole"
        ) from error
    problems = describe({problem: report[f"{problem}_keys"] for problem in ("missing", "unexpected", "mismatched")})
    if problems:
        raise BadModelFolder(
            f"the weights in {folder} do not fit its config: {problems}", hint="fetch the checkpoint again, whole"
        )
    return model


def _download(name: str, revision: str | None) -> Path:
    """Fetch a model from the hub, or find it in the hub's cache on this machine."""
    known = f"built in: {', '.join(BUILT_IN)}; or give a folder, or a hub id such as LanguageBind/Video-LLaVA-7B-hf"
    if not _HUB_ID.fullmatch(name):
        raise UnknownModel(f"there is no model {name!r}", hint=known)
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*_HUB_FILES, _SAFETENSORS]))
        if not any(folder.glob(_SAFETENSORS)):
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*_HUB_FILES, _PICKLES]))
    except Exception as error:
        raise UnknownModel(f"the hub gave no model {name!r}: {_first_line(error)}", hint=known) from error
    return folder


@contextmanager
def _quietly() -> Iterator[None]:
    """Load in silence: a library draws on nobody's terminal, and what is wrong is raised."""
    was_shown, loudness = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(loudness)
        if was_shown:
            transformers_logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
