"""Read the weights of a checkpoint folder as they are stored, and hash those of the vision tower."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from vidzip.encoders.weights import is_buffer
from vidzip.errors import BadArgument, BadModelFolder

_FILES = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""A file with all weights, and the index of several files; in transformers' order of preference."""

_PATTERNS = ("*.safetensors", "pytorch_model*.bin")

_TOWER = re.compile(r"(?:^|\.)video_tower\.(?:video_tower\.|vision_model\.)?(.+)")
"""Names of the video tower's weights: in old and new checkpoints of the hub, in converted ones, and in the original."""


def weight_files(folder: Path) -> list[Path]:
    """List the files with a folder's weights; if there are several kinds, those that transformers would load.

    Raises:
        BadModelFolder: there are none; or the index cannot be read, or names a missing file.
    """
    for single, index in _FILES:
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            return _indexed(folder, folder / index)
    for pattern in _PATTERNS:
        found = sorted(folder.glob(pattern))
        if found:
            return found
    raise BadModelFolder(
        f"{folder} has no weights", hint="put the checkpoint's *.safetensors or pytorch_model*.bin files there"
    )


def _indexed(folder: Path, index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [folder / Path(name).name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadModelFolder(f"{index} cannot be read: {error!r}", hint="download the checkpoint again") from error
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise BadModelFolder(
            f"{folder} has no {', '.join(missing)}, which {index.name} names",
            hint="download the whole checkpoint again",
        )
    return files


def stored_weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Read a folder's weights, file by file, as names and tensors.

    Pickled files are opened with ``weights_only=True``, which runs no code from them, and memory-mapped if possible.

    Raises:
        BadModelFolder: a file is missing or cannot be read, or two files have the same weight.
    """
    seen: set[str] = set()
    for file in weight_files(folder):
        for name, weight in _read(file):
            if is_buffer(name):
                continue
            if name in seen:
                raise BadModelFolder(f"{folder} has the weight {name} twice", hint="download the checkpoint again")
            seen.add(name)
            yield name, weight


def _read(file: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - it is not a mapping
                    yield name, opened.get_tensor(name)
            return
        # Files of PyTorch before 1.6 are not zip archives, and cannot be memory-mapped.
        weights = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:
        raise BadModelFolder(
            f"{file} cannot be read as weights: {_reason(error)}", hint="download the whole checkpoint again"
        ) from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(weight, Tensor) for name, weight in weights.items()
    ):
        raise BadModelFolder(f"{file} is not a file of weights", hint="download the checkpoint again")
    yield from weights.items()


def _reason(error: Exception) -> str:
    """Summarize why a file cannot be read, without PyTorch's advice to load it unsafely."""
    text = str(error).strip()
    if isinstance(error, pickle.UnpicklingError):
        name = re.search(r"GLOBAL (\S+)", text)
        return f"it contains {name[1]}, which is not run" if name else "it is not a file of weights"
    if isinstance(error, EOFError):
        return "it ends early"
    return text.splitlines()[0] if text else type(error).__name__


def fingerprint(module: nn.Module) -> str:
    """Hash a module's weights, as they are in memory.

    Raises:
        BadArgument: some weights are not in memory.
    """
    weights = module.state_dict()
    absent = sorted(name for name, weight in weights.items() if weight.is_meta)
    if absent:
        raise BadArgument(
            f"{len(absent)} weights are not in memory ({absent[0]}, …)", hint="load the model without a device map"
        )
    return _hash(weights.items())


def tower_fingerprint(weights: Iterable[tuple[str, Tensor]]) -> str:
    """Hash the video tower's weights among those of a checkpoint; names of all layouts give the same hash.

    Raises:
        BadModelFolder: there are none.
    """
    tower = {match[1]: weight for name, weight in weights if (match := _TOWER.search(name)) is not None}
    if not tower:
        raise BadModelFolder("the checkpoint has no video tower", hint="download the whole checkpoint again")
    return _hash(tower.items())


def _hash(weights: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, weight in sorted(weights, key=lambda one: one[0]):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        content: Any = weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(content)
    return digest.hexdigest()
