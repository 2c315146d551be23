"""Files of packed videos: safetensors with a checksum, complete or absent, and read only if no byte has changed.

The header's metadata holds one entry: the format's name, and a JSON text that describes everything but the tensors. It
is one entry because safetensors writes several in no fixed order, and the same pack must make the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Mapping
from typing import BinaryIO

import safetensors.torch
import torch
from jaxtyping import UInt8
from torch import Tensor

from vidzip.errors import BadPack, WriteError
from vidzip.files import atomic_file
from vidzip.version import __version__

SUFFIX = ".vidzip"
"""What the name of a packed video ends in, by convention."""

FORMAT = "vidzip/pack/2"
"""The format that is written and read."""

_FORMATS = "vidzip/pack/"
"""What the name of every version's format begins with."""

PACK_AGAIN = "pack the video again"
"""The hint for files that cannot be used."""

_CHECKSUM = "checksum"
_CHECKSUM_BYTES = 32
"""One additional tensor: a BLAKE2b hash of the header and the other tensors, which are all of a file."""

_LENGTH_BYTES = 8
_LARGEST_HEADER_BYTES = 100_000_000
"""A safetensors file begins with its header's length, little-endian, in 8 bytes; no larger header is allowed."""


def is_pack(path: str | os.PathLike[str]) -> bool:
    """Whether to load a path as a packed video: its name ends in :data:`SUFFIX`, or its content begins like one.

    Loading refuses a file with that suffix that is not a packed video, or is damaged.
    """
    name = os.fspath(path)
    if name.lower().endswith(SUFFIX):
        return True
    if not os.path.isfile(name):  # opening a pipe would wait for its other end
        return False
    try:
        with open(name, "rb") as file:
            return _find_description(_read_header(file)) is not None
    except OSError:
        return False  # opening it as a video reports why it cannot be opened


def check_place(path: str | os.PathLike[str]) -> None:
    """Check, before there is work to lose, that a packed video may be written to a path.

    Raises:
        WriteError: something other than an older packed video is there, or there is no folder to write to.
    """
    name = os.fspath(path)
    if os.path.lexists(name) and not is_pack(name):
        raise WriteError(f"{name!r} exists, and is not a packed video", hint="give a new name, or remove it first")
    folder = os.path.dirname(name) or os.curdir
    if os.path.isdir(name) or not os.path.isdir(folder):
        reason = "it is a folder" if os.path.isdir(name) else f"there is no folder {folder!r}"
        raise WriteError(f"{name!r} cannot be written: {reason}", hint="give a file in an existing folder")


def write_file(name: str, tensors: Mapping[str, Tensor], text: str) -> None:
    """Write tensors and a description to a file, with a checksum.

    Raises:
        WriteError: the file cannot be written, or a file that is not a packed video is there.
        DiskFull: there is not enough space.
    """
    # Copies, since safetensors refuses tensors that share memory.
    copies = {
        key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for key, tensor in tensors.items()
    }
    empty = torch.zeros(_CHECKSUM_BYTES, dtype=torch.uint8)
    unsealed = safetensors.torch.save({**copies, _CHECKSUM: empty}, {FORMAT: text})
    header = _read_header(io.BytesIO(unsealed))  # which does not depend on the tensors' values
    content = safetensors.torch.save({**copies, _CHECKSUM: _checksum(header, copies)}, {FORMAT: text})
    check_place(name)
    # Python's own writing: safetensors maps the file into memory, and a full disk would then end the process.
    with atomic_file(name) as file:
        file.write(content)


def _checksum(header: bytes, tensors: Mapping[str, Tensor]) -> UInt8[Tensor, " bytes"]:
    digest = hashlib.blake2b(header, digest_size=_CHECKSUM_BYTES)
    for key in sorted(tensors):
        digest.update(tensors[key].flatten().view(torch.uint8).numpy().data)
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def read_file(name: str) -> tuple[str, dict[str, Tensor]]:
    """Read a file's description and tensors.

    Raises:
        BadPack: the file cannot be read, is not a packed video, has another format, or any byte is missing or changed.
    """
    header, text, data = _read_parts(name)
    try:
        tensors = safetensors.torch.load(header + data)
    except Exception as error:
        raise BadPack(f"{name!r} is damaged: {error}", hint=PACK_AGAIN) from error
    checksum = tensors.pop(_CHECKSUM, torch.empty(0))
    if checksum.tolist() != _checksum(header, tensors).tolist():
        raise BadPack(f"{name!r} is damaged: its checksum does not match its content", hint=PACK_AGAIN)
    return text, tensors


def _read_parts(name: str) -> tuple[bytes, str, bytes]:
    """Read a file's header, the description in it, and the bytes of the tensors."""
    try:
        mode = os.stat(name).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise BadPack(f"{name!r} is {kind}", hint="give a file that a video was packed into")
        with open(name, "rb") as file:
            header = _read_header(file)
            if not header:
                raise BadPack(f"{name!r} is empty (0 bytes)", hint=PACK_AGAIN)
            text = _description_for(name, header)
            return header, text, file.read()
    except FileNotFoundError as error:
        raise BadPack(f"there is no file {name!r}", hint="check the path, or pack a video into it") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadPack(f"{name!r} cannot be opened: {reason}", hint="check the path and its permissions") from error


def _read_header(file: BinaryIO) -> bytes:
    """Read a safetensors header with its length; only the length if it is too large to be one."""
    length = file.read(_LENGTH_BYTES)
    size = int.from_bytes(length, "little")
    return length + file.read(size) if size <= _LARGEST_HEADER_BYTES else length


def _find_description(header: bytes) -> tuple[str, str] | None:
    """Find the packed video's format and description in a header; None if it is not a packed video's header."""
    try:
        metadata: dict[str, str] = json.loads(header[_LENGTH_BYTES:].decode())["__metadata__"]
        return next(((key, text) for key, text in metadata.items() if key.startswith(_FORMATS)), None)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):  # not JSON, or of another structure
        return None


def _description_for(name: str, header: bytes) -> str:
    found = _find_description(header)
    if found is None:
        raise BadPack(f"{name!r} is not a packed video, or its beginning is damaged", hint=PACK_AGAIN)
    written, text = found
    if written != FORMAT:
        raise BadPack(
            f"{name!r} has the format {written!r}, but vidzip {__version__} reads {FORMAT!r}",
            hint=f"{PACK_AGAIN} with this version, or use the version that wrote it",
        )
    return text
