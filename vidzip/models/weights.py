"""The weights that a checkpoint folder holds, as they are stored: names, tensors, and a hash of those of the tower."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from vidzip.errors import BadArgument, BadModelFolder

_FILES = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""A file that holds every weight, and one that says which shard does; in the order in which transformers looks."""

_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
_COMPUTED = ("position_ids", "inv_freq")
"""Last parts of names that older checkpoints hold, of values that are computed and no weights."""

_TOWER = re.compile(r"(?:^|\.)video_tower\.(?:video_tower\.|vision_model\.)?(.+)")
"""What the video tower's weights are called, in the hub's checkpoints old and new, in ours, and in the original."""


def is_computed(name: str) -> bool:
    """Whether a name is that of a value which is computed, and no weight."""
    return name.rpartition(".")[2] in _COMPUTED


def shards(folder: Path) -> list[Path]:
    """List the files that hold a folder's weights: those that transformers takes, where there are several kinds.

    Raises:
        BadModelFolder: there are none, the index cannot be read, or names a file that is not there.
    """
    for whole, index in _FILES:
        if (folder / whole).is_file():
            return [folder / whole]
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
    except Exception as error:
        raise BadModelFolder(
            f"{shard} cannot be read as weights: {_reason(error)}", hint="fetch the checkpoint again, whole"
        ) from error
    if not isinstance(held, dict) or not all(isinstance(k, str) and isinstance(w, Tensor) for k, w in held.items()):
        raise BadModelFolder(f"{shard} holds something else than weights", hint="fetch the checkpoint again")
    yield from held.items()


def _reason(error: Exception) -> str:
    """Say what a file holds that is no weights, without PyTorch's advice to run it all the same."""
    said = str(error).strip()
    if isinstance(error, pickle.UnpicklingError):
        named = re.search(r"GLOBAL (\S+)", said)
        return f"it holds {named[1]}, which is not run" if named else "it is no file of weights"
    if isinstance(error, EOFError):
        return "it ends early"
    return said.splitlines()[0] if said else type(error).__name__


def check_weights(
    folder: Path, wanted: Mapping[str, Tensor], held: Mapping[str, Tensor], tied: Collection[str] = ()
) -> None:
    """Account for every weight, by name, shape and kind.

    Args:
        folder: where they are from.
        wanted: what the model needs.
        held: what there is.
        tied: names among the wanted that may be left out, since another weight is the same.

    Raises:
        BadModelFolder: one is missing, of no use, of another shape, or no floating-point numbers.
    """
    shared = wanted.keys() & held.keys()
    refuse(
        folder,
        {
            "missing": wanted.keys() - held.keys() - set(tied),
            "unexpected": held.keys() - wanted.keys(),
            "mis-shaped": [
                mis_shaped(name, held[name].shape, wanted[name].shape)
                for name in shared
                if held[name].shape != wanted[name].shape
            ],
            "not floating-point": [
                f"{name} of {held[name].dtype}" for name in shared if not held[name].is_floating_point()
            ],
        },
    )


def mis_shaped(name: str, shape: Iterable[int], wanted: Iterable[int]) -> str:
    """Say which shape a weight has, and which it should."""
    return f"{name} of {tuple(shape)} instead of {tuple(wanted)}"


def refuse(folder: Path, problems: Mapping[str, Iterable[str]]) -> None:
    """List weights by what is wrong with them, if anything is.

    Raises:
        BadModelFolder: something is.
    """
    said = describe(problems)
    if said:
        raise BadModelFolder(
            f"the weights in {folder} do not fit its config: {said}", hint="fetch the checkpoint again, whole"
        )


def fingerprint(module: nn.Module) -> str:
    """Hash a module's weights, as they are now.

    Raises:
        BadArgument: some of them are not in memory.
    """
    weights = module.state_dict()
    absent = sorted(name for name, weight in weights.items() if weight.is_meta)
    if absent:
        raise BadArgument(
            f"{len(absent)} weights are not in memory ({absent[0]}, …)", hint="load the model without a device map"
        )
    return _hash(weights.items())


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
