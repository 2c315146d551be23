"""From a name or a folder to a model that can be asked."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase, VideoLlavaForConditionalGeneration
from transformers.utils import logging as transformers_logging

from vidzip.encoders import Preprocessor
from vidzip.errors import BadArgument, BadModelFolder, DeviceUnavailable, UnknownModel
from vidzip.models import tiny, tiny_random
from vidzip.models.video_llava import VideoLlava

Parts = tuple[VideoLlavaForConditionalGeneration, PreTrainedTokenizerBase, Preprocessor]

BUILT_IN: dict[str, Path | Callable[[], Parts]] = {
    "tiny": tiny.CHECKPOINT,
    "tiny-random": tiny_random.build,
}
"""Models that need no download, by name: the folder of a checkpoint that ships, or what builds the model."""

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ["*.json", "*.safetensors", "tokenizer*"]
_DERIVED_BUFFERS = ("position_ids", "inv_freq")
"""Ends of names that older checkpoints hold, of values that are computed and no weights."""


def load(
    model_id_or_folder: str | os.PathLike[str],
    revision: str | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
) -> VideoLlava:
    """Load a Video-LLaVA of transformers' layout.

    Args:
        model_id_or_folder: a name in :data:`BUILT_IN`, a folder with config, tokenizer, preprocessor settings and
            safetensors, or a model id of the hub such as ``"LanguageBind/Video-LLaVA-7B-hf"``.
        revision: branch, tag or commit of a model on the hub.
        device: ``"auto"`` takes CUDA, else MPS, else the CPU.
        dtype: ``"auto"`` takes bfloat16 on CUDA (float16 where it lacks bfloat16), float16 on MPS, float32 on a CPU.

    Raises:
        UnknownModel: no such built-in model or folder, and the hub gives out none of that name.
        BadModelFolder: the folder lacks a file or a weight, or holds a model of another kind.
        DeviceUnavailable: the device is not there.
        BadArgument: an unknown device or dtype, or a revision of what has none.
    """
    name = os.fspath(model_id_or_folder)
    place = find_device(device)
    kind = _dtype(dtype, place)
    is_local = name in BUILT_IN or os.path.isdir(name)
    if is_local and revision is not None:
        raise BadArgument(
            f"revision {revision!r} of {name!r}, which is no model of the hub", hint="leave the revision out"
        )
    source = BUILT_IN.get(name)
    if source is None:
        source = Path(name) if is_local else _download(name, revision)
    model, tokenizer, preprocessor = _load_folder(source, kind) if isinstance(source, Path) else source()
    return VideoLlava(name=name, model=_to(model, place, kind), tokenizer=tokenizer, preprocessor=preprocessor)


def _to(model: Any, device: torch.device, dtype: torch.dtype) -> VideoLlavaForConditionalGeneration:
    placed: VideoLlavaForConditionalGeneration = model.to(device).eval()
    # Weights alone take the dtype, as in from_pretrained: rounded buffers (the rotary frequencies) would turn
    # distant positions by radians.
    for weight in placed.parameters():
        weight.data = weight.data.to(dtype)
    # generate() fills what a call leaves open from here: a checkpoint's own sampling must not steer greedy decoding.
    placed.generation_config = GenerationConfig(eos_token_id=placed.generation_config.eos_token_id, do_sample=False)
    return placed


def _load_folder(folder: Path, dtype: torch.dtype) -> Parts:
    config = _read_config(folder)
    if config.get("model_type") != "video_llava":
        raise BadModelFolder(
            f"{folder} holds a model of type {config.get('model_type')!r}",
            hint="give a Video-LLaVA of transformers' layout (type 'video_llava'), such as Video-LLaVA-7B-hf",
        )
    if not any(folder.glob("*.safetensors")):
        raise BadModelFolder(f"{folder} holds no weights", hint="put the checkpoint's *.safetensors files there")
    preprocessor = Preprocessor.from_folder(folder)
    tokenizer = _load_tokenizer(folder)
    model = _load_weights(folder, dtype)
    vision: Any = model.config.vision_config
    image_size = vision.image_size
    if (preprocessor.crop_height, preprocessor.crop_width) != (image_size, image_size):
        raise BadModelFolder(
            f"{folder} crops pictures to {preprocessor.crop_width}x{preprocessor.crop_height}, but its tower takes "
            f"{image_size}x{image_size}",
            hint="use the preprocessor settings that came with the checkpoint",
        )
    return model, tokenizer, preprocessor


def _read_config(folder: Path) -> dict[str, Any]:
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


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise BadModelFolder(
            f"{folder} holds no usable tokenizer: {_first_line(error)}",
            hint="put the checkpoint's tokenizer.json there",
        ) from error
    tokenizer.padding_side = "left"
    return tokenizer


def _load_weights(folder: Path, dtype: torch.dtype) -> VideoLlavaForConditionalGeneration:
    try:
        with _without_progress_bar():
            loaded: Any = VideoLlavaForConditionalGeneration.from_pretrained(
                folder,
                dtype=dtype,
                attn_implementation="sdpa",
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BadModelFolder(
            f"the weights in {folder} cannot be loaded: {_first_line(error)}", hint="fetch the checkpoint again, whole"
        ) from error
    model: VideoLlavaForConditionalGeneration = loaded[0]
    report: dict[str, Any] = loaded[1]
    problems = []
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(str(name) for name in report[problem] if not str(name).endswith(_DERIVED_BUFFERS))
        if names:
            listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            problems.append(f"{len(names)} {problem.replace('_keys', '')} weights ({listed})")
    if problems:
        raise BadModelFolder(
            f"the weights in {folder} do not fit its config: {'; '.join(problems)}",
            hint="fetch the checkpoint again, whole",
        )
    return model


def _download(name: str, revision: str | None) -> Path:
    """Fetch a model from the hub, or find it in the hub's cache on this machine."""
    known = f"built in: {', '.join(BUILT_IN)}; or give a folder, or a hub id such as LanguageBind/Video-LLaVA-7B-hf"
    if not _HUB_ID.fullmatch(name):
        raise UnknownModel(f"there is no model {name!r}", hint=known)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_HUB_FILES))
    except Exception as error:
        raise UnknownModel(f"the hub gave no model {name!r}: {_first_line(error)}", hint=known) from error


def find_device(device: str | torch.device) -> torch.device:
    """Find a device of this machine; ``"auto"`` takes CUDA, else MPS, else the CPU.

    Raises:
        DeviceUnavailable: it is not there.
        BadArgument: an unknown device.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise BadArgument(f"unknown device {device!r}", hint="use auto, cpu, cuda, cuda:N or mps") from error
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if place.type not in there:
        raise BadArgument(f"vidzip does not run on {place}", hint="use auto, cpu, cuda, cuda:N or mps")
    if (place.index or 0) >= there[place.type]:
        raise DeviceUnavailable(
            f"there is no device {place} here ({there[place.type]} of its kind)", hint="use auto or cpu"
        )
    return place


def _dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        if dtype not in DTYPES.values():
            raise BadArgument(f"unknown dtype {dtype}", hint=f"use auto or {', '.join(DTYPES)}")
        return dtype
    if dtype == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.float16 if device.type == "mps" else torch.float32
    if dtype not in DTYPES:
        raise BadArgument(f"unknown dtype {dtype!r}", hint=f"use auto or {', '.join(DTYPES)}")
    return DTYPES[dtype]


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    """Load in silence: a library draws on nobody's terminal."""
    was_shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            transformers_logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
