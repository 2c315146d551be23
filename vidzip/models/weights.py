"""The weights that a checkpoint folder holds, as they are stored: names, tensors, and a hash of those of the tower."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vidzip.errors import BadModelFolder

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Files that say which shard holds which weight; safetensors first, where a folder holds both kinds."""

_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
_COMPUTED = ("position_ids", "inv_freq")
"""Ends of names that older checkpoints hold, of values that are computed and no weights."""

_TOWER = re.compile(r"(?:^|\.)video_tower\.(?:video_tower\.|vision_model\.)?(.+)")
"""What the video tower's weights are called, in the hub's checkpoints old and new, in ours, and in the original."""


def is_computed(name: str) -> bool:
    """Whether a name is that of a value which is computed, and no weight."""
    return name.endswith(_COMPUTED)


def shards(folder: Path) -> list[Path]:
    """List the files that hold a folder's weights.

    Raises:
        BadModelFolder: there are none, the index cannot be read, or names a file that is not there.
    """
    for index in INDEXES:
        if (folder / index).is_file():
            return _indexed(folder, folder / index)
    for pattern in _PATTERNS:
        found = sorted(folder.glob(pattern))
        if found:
            return found
    raise BadModelFolder(
        f"{folder} holds no weights", hint="put the checkpoint's *.safetensors or pytorch_model*.bin files there"
    )


def _indexed(folder: Path, index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [folder / Path(name).name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadModelFolder(f"{index} cannot be read: {error!r}", hint="fetch the checkpoint again") from error
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise BadModelFolder(
            f"{folder} lacks {', '.join(missing)}, which {index.name} names", hint="fetch the checkpoint again, whole"
        )
    return files


def stored_weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Read a folder's weights, shard by shard, each from the file when it is first looked at.

    Pickled shards are opened with ``weights_only=True``: nothing in them is run.

    Raises:
        BadModelFolder: a file is missing or cannot be read, or two hold the same weight.
    """
    seen: set[str] = set()
    for shard in shards(folder):
        for name, weight in _read(shard):
            if is_computed(name):
                continue
            if name in seen:
                raise BadModelFolder(f"{folder} holds the weight {name} twice", hint="fetch the checkpoint again")
            seen.add(name)
            yield name, weight


def _read(shard: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        if shard.suffix == ".safetensors":
            with safe_open(shard, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - it is no mapping
                    yield name, file.get_tensor(name)
            return
        # Files of PyTorch before 1.6 are no archives, and cannot be read as they lie on the disk.
        held = torch.load(shard, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(shard))
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadModelFolder(
            f"{shard} cannot be read as weights: {first}", hint="fetch the checkpoint again, whole"
        ) from error
    if not isinstance(held, dict) or not all(isinstance(weight, Tensor) for weight in held.values()):
        raise BadModelFolder(f"{shard} holds something else than weights", hint="fetch the checkpoint again")
    yield from held.items()


def fingerprint(module: nn.Module) -> str:
    """Hash a module's weights, as they are now."""
    return _hash(module.state_dict().items())


def tower_fingerprint(weights: Iterable[tuple[str, Tensor]]) -> str:
    """Hash the video tower's weights among those of a checkpoint, whatever layout names them.

    Raises:
        BadModelFolder: there are none.
    """
    of_tower = {match[1]: weight for name, weight in weights if (match := _TOWER.search(name)) is not None}
    if not of_tower:
        raise BadModelFolder("the checkpoint holds no video tower", hint="fetch the checkpoint again, whole")
    return _hash(of_tower.items())


def _hash(weights: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, weight in sorted(weights, key=lambda one: one[0]):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        held: Any = weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(held)
    return digest.hexdigest()


def describe(problems: Mapping[str, Iterable[str]]) -> str:
    """List names of weights by what is wrong with them."""
    said = []
    for problem, names in problems.items():
        listed = sorted(str(name) for name in names if not is_computed(str(name)))
        if listed:
            shown = ", ".join(listed[:_MOST_NAMES]) + (", …" if len(listed) > _MOST_NAMES else "")
            said.append(f"{len(listed)} {problem} weights ({shown})")
    return "; ".join(said)


_MOST_NAMES = 50
"""Names of weights that a message lists of each kind of problem."""
