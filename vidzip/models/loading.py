"""From a name or a folder to a model that is ready to answer questions."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import GenerationConfig, PreTrainedModel

from vidzip.errors import BadArgument, UnknownModel
from vidzip.models import tiny_random
from vidzip.models.checkpoint import Checkpoint, first_line
from vidzip.models.families import find_family
from vidzip.models.family import ModelFamily
from vidzip.models.memory import batch_frames, memory_errors, tower_memory_bytes
from vidzip.models.model import VideoModel
from vidzip.models.placing import DeviceMap, Placement, choose_placement

BUILT_IN: dict[str, Path | Callable[[], ModelFamily]] = {
    "tiny": Path(__file__).with_name("checkpoints") / "tiny",
    "tiny-random": tiny_random.build,
}
"""Models that need no download, by name: a checkpoint's folder, or a function that builds the model."""

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
    compile_tower: bool = False,
) -> VideoModel:
    """Load a video LLM of any family in :data:`vidzip.models.families.FAMILIES`.

    The config and the names of its weights say which family it is; every weight must find its place.

    Args:
        model_id_or_folder: a name in :data:`BUILT_IN`, a folder, or a model id of the hub:
            ``"LanguageBind/Video-LLaVA-7B"`` for the original Video-LLaVA, ``"LanguageBind/Video-LLaVA-7B-hf"`` for
            transformers' port.
        revision: branch, tag or commit of a model on the hub.
        device: ``"auto"`` is CUDA, else MPS, else the CPU.
        dtype: ``"auto"`` is bfloat16 on CUDA (float16 without bfloat16 support) and float16 on MPS. On a CPU it is
            float32; but bfloat16 for models with 100 million weights or more that are all stored in half precision, if a
            test product, which takes a few seconds, is clearly faster in it.
        quantize: ``"8bit"`` or ``"4bit"``: the language model's layers, on CUDA, through bitsandbytes.
        device_map: ``"auto"``, or a device per module: for models larger than one device, through accelerate.
        compile_tower: see :class:`VideoModel <vidzip.models.model.VideoModel>`.

    Raises:
        UnknownModel: there is no such built-in model or folder, and the hub has none of that name.
        BadModelFolder: the folder lacks a file or a weight, or holds a model of an unsupported family.
        DeviceUnavailable: the device does not exist here, or cannot do this.
        NotInstalled: an optional library is needed: to quantize, to use several devices, or for a tokenizer.
        OutOfMemory: the device cannot hold the weights.
        BadArgument: an unknown device, dtype or quantization, a device map that does not fit the model, or a revision of
            a model that is not on the hub.
    """
    name = os.fspath(model_id_or_folder)
    placement = choose_placement(device, dtype, quantize, device_map)
    is_local = name in BUILT_IN or os.path.isdir(name)
    if is_local and revision is not None:
        raise BadArgument(f"revision {revision!r} of {name!r}, which is not on the hub", hint="leave the revision out")
    source = BUILT_IN.get(name)
    if source is None:
        source = Path(name) if is_local else _download(name, revision)
    folder = source if isinstance(source, Path) else None
    with memory_errors(f"loading {name}"):
        if isinstance(source, Path):
            checkpoint = Checkpoint.open(source)
            family = find_family(checkpoint).load(checkpoint, placement)
        elif placement.is_placed_on_load:
            raise BadArgument(
                f"{name} is too small for several devices or quantization", hint="leave quantize and device_map out"
            )
        else:
            family = _in_dtype(source(), placement.dtype)
        family = replace(family, network=_ready(family.network, placement))
    model = VideoModel(name=name, family=family, folder=folder, compile_tower=compile_tower)
    model = replace(
        model, max_batch_frames=batch_frames(model.device), tower_memory_bytes=tower_memory_bytes(model.device)
    )
    if folder is not None:
        model.tower_fingerprint  # noqa: B018 - every pack needs it: hash the file now, and delay no question
    return model


def _in_dtype(family: ModelFamily, dtype: torch.dtype) -> ModelFamily:
    """Convert weights only, as from_pretrained does: rounded buffers (rotary frequencies) would turn far positions."""
    for weight in family.network.parameters():
        weight.data = weight.data.to(dtype)
    return family


def _ready(network: Any, placement: Placement) -> PreTrainedModel:
    if not placement.is_placed_on_load:
        network = network.to(placement.device)
    placed: PreTrainedModel = network.eval()
    # generate() takes defaults from here: the checkpoint's sampling settings must not affect greedy generation.
    stops: Any = placed.generation_config
    placed.generation_config = GenerationConfig(eos_token_id=stops.eos_token_id, do_sample=False)
    return placed


def is_available(name: str, revision: str | None = None) -> bool:
    """Whether :func:`load` finds a model without a download: built in, a folder, or in the hub's cache."""
    if name in BUILT_IN or os.path.isdir(name):
        return True
    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=[*_HUB_FILES]))
    except Exception:
        return False
    return any(folder.glob(_SAFETENSORS)) or any(folder.glob(_PICKLES))


def _download(name: str, revision: str | None) -> Path:
    """Download a model from the hub, or find it in the hub's local cache."""
    known = (
        f"built-in models: {', '.join(BUILT_IN)}; or give a folder, or a hub id such as LanguageBind/Video-LLaVA-7B-hf"
    )
    if not _HUB_ID.fullmatch(name):
        raise UnknownModel(f"there is no model {name!r}", hint=known)
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*_HUB_FILES, _SAFETENSORS]))
        if not any(folder.glob(_SAFETENSORS)):
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*_HUB_FILES, _PICKLES]))
    except Exception as error:
        raise UnknownModel(f"the model {name!r} could not be downloaded: {first_line(error)}", hint=known) from error
    return folder
