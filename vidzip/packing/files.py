"""Packed videos as files: one safetensors file each, whole or not there, and read only if no byte has changed.

Beside the tensors, the header's metadata hold one entry: the format's name, and as JSON everything of the pack that is
no tensor. One entry, since safetensors writes several in no fixed order, and the same pack shall make the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, BinaryIO

import safetensors.torch
import torch
from jaxtyping import UInt8
from torch import Tensor

from vidzip import __version__
from vidzip.errors import BadArgument, BadPack, DeviceUnavailable, PlanMismatch, VidzipError, WriteError
from vidzip.files import atomic_file
from vidzip.packing.packed import PackedVideo
from vidzip.packing.rebuilding import rebuild
from vidzip.planner import Budget, Plan

SUFFIX = ".vidzip"
"""What the name of a packed video ends in, by custom."""

FORMAT = "vidzip/pack/1"
"""The format that is written and read."""

_FORMATS = "vidzip/pack/"
"""How the name of every version's format begins."""

_TOKEN_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_DTYPES = {
    "tokens": _TOKEN_DTYPES,
    "frame_of": (torch.int32,),
    "anchor_of": (torch.int32,),
    "source": (torch.int16, torch.int32),
    "timestamps_seconds": (torch.float64,),
}
"""The tensors of a file, as PackedVideo names them, and what each may be made of."""

_CHECKSUM = "checksum"
_CHECKSUM_BYTES = 32
"""One tensor more: a BLAKE2b of the header and of the others, which is all there is in a file."""

_FIRST_OF_BUDGET = ("total_tokens", "num_frames")
"""What a budget held when the format began."""

_LENGTH_BYTES = 8
_LARGEST_HEADER_BYTES = 100_000_000
"""A safetensors file begins with its header's length, little-endian, in so many bytes; it takes no larger header."""

_AGAIN = "pack the video again"


@dataclass(frozen=True, kw_only=True)
class _Description:
    """What a file holds beside tensors; ``vidzip`` is the version that wrote it, the rest as in PackedVideo."""

    vidzip: str
    method: str
    tower: str
    plan: Plan
    warnings: tuple[str, ...]
    stage_seconds: dict[str, float]


def is_pack(path: str | os.PathLike[str]) -> bool:
    """Whether a path is to be loaded as a packed video: its name ends in :data:`SUFFIX`, or its content begins as one.

    A file of that name that is no packed video, or is damaged, is for loading to refuse.
    """
    name = os.fspath(path)
    if name.lower().endswith(SUFFIX):
        return True
    if not os.path.isfile(name):  # nor is a pipe opened: that would wait for its other end
        return False
    try:
        with open(name, "rb") as file:
            return _find_description(_read_header(file)) is not None
    except OSError:
        return False  # whoever opens it as a video says why it cannot be


def save(packed: PackedVideo, path: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
    """Write a packed video; see :meth:`PackedVideo.save`."""
    name = os.fspath(path)
    content = _to_bytes(packed, dtype)
    check_place(name)
    # In Python's own words: safetensors' writer maps the file, and a full disk then ends the process.
    with atomic_file(name) as file:
        file.write(content)


def check_place(path: str | os.PathLike[str]) -> None:
    """Make sure, before there is work to lose, that a packed video may be written to a path.

    Raises:
        WriteError: something else than an older packed video is there, or no folder to write to.
    """
    name = os.fspath(path)
    if os.path.lexists(name) and not is_pack(name):
        raise WriteError(f"{name!r} exists already, and is no packed video", hint="give a new name, or remove it first")
    folder = os.path.dirname(name) or os.curdir
    if os.path.isdir(name) or not os.path.isdir(folder):
        reason = "it is a folder" if os.path.isdir(name) else f"there is no folder {folder!r}"
        raise WriteError(f"{name!r} cannot be written: {reason}", hint="give a file in a folder that is there")


def load(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> PackedVideo:
    """Read a packed video; see :meth:`PackedVideo.load`."""
    name = os.fspath(path)
    header, text, data = _read(name)
    try:
        tensors = _read_tensors(header, data)
        _check(tensors)
        described: _Description = rebuild(_Description, json.loads(text), "description")
        packed = PackedVideo(
            tokens=tensors["tokens"],
            frame_of=tensors["frame_of"].long(),
            anchor_of=tensors["anchor_of"].long(),
            source=tensors["source"].long(),
            timestamps_seconds=tuple(tensors["timestamps_seconds"].tolist()),
            plan=described.plan,
            method=described.method,
            tower=described.tower,
            stage_seconds=described.stage_seconds,
            warnings=described.warnings,
        )
    except (ValueError, RecursionError, PlanMismatch) as error:
        reason = error.message if isinstance(error, VidzipError) else error
        raise BadPack(f"{name!r} cannot be read as {FORMAT}: {reason}", hint=_AGAIN) from error
    return _move(packed, device)


def _to_bytes(packed: PackedVideo, dtype: torch.dtype | None) -> bytes:
    if dtype is None:
        dtype = packed.tokens.dtype if packed.tokens.dtype in _TOKEN_DTYPES[:2] else torch.float16
    if dtype not in _TOKEN_DTYPES:
        raise BadArgument(f"unknown dtype {dtype}", hint=f"use one of {', '.join(map(str, _TOKEN_DTYPES))}")
    whole = {
        "tokens": packed.tokens,
        "frame_of": packed.frame_of,
        "anchor_of": packed.anchor_of,
        "source": packed.source,
        "timestamps_seconds": torch.tensor(packed.timestamps_seconds, dtype=torch.float64),
    }
    description = _Description(
        vidzip=__version__,
        method=packed.method,
        tower=packed.tower,
        plan=packed.plan,
        warnings=packed.warnings,
        stage_seconds=dict(packed.stage_seconds),
    )
    try:
        _check(whole)
        text = json.dumps(_kept(description), allow_nan=False, separators=(",", ":"))
        rebuild(_Description, json.loads(text), "description")  # nothing is written that could not be read
    except (TypeError, ValueError) as error:
        raise BadArgument(f"the packed video cannot be saved: {error}", hint=_AGAIN) from error
    fits_int16 = packed.num_tokens - 1 <= torch.iinfo(torch.int16).max
    smaller = {
        "tokens": dtype,
        "frame_of": torch.int32,
        "anchor_of": torch.int32,
        "source": torch.int16 if fits_int16 else torch.int32,
        "timestamps_seconds": torch.float64,
    }
    # Copies, since safetensors refuses tensors that share memory.
    tensors = {key: tensor.detach().cpu().to(smaller[key], copy=True).contiguous() for key, tensor in whole.items()}
    if not tensors["tokens"].isfinite().all():
        raise BadArgument(
            f"the tokens reach {packed.tokens.abs().max():g}, but {dtype} holds up to {torch.finfo(dtype).max:g}",
            hint="save them with dtype=torch.float32, or --pack-dtype float32",
        )
    return _seal(tensors, text)


def _kept(description: _Description) -> dict[str, Any]:
    """A description as JSON takes it, without fields that budgets got later and that hold their defaults.

    Versions of vidzip from before those fields can read the file then.
    """
    kept = asdict(description)
    added = {field.name: field.default for field in fields(Budget) if field.name not in _FIRST_OF_BUDGET}
    budget = kept["plan"]["budget"]
    kept["plan"]["budget"] = {key: value for key, value in budget.items() if key not in added or value != added[key]}
    return kept


def _seal(tensors: Mapping[str, Tensor], text: str) -> bytes:
    """Build a file's content, its checksum included."""
    empty = torch.zeros(_CHECKSUM_BYTES, dtype=torch.uint8)
    unsealed = safetensors.torch.save({**tensors, _CHECKSUM: empty}, {FORMAT: text})
    header = _read_header(io.BytesIO(unsealed))  # which no value of a tensor changes
    return safetensors.torch.save({**tensors, _CHECKSUM: _checksum(header, tensors)}, {FORMAT: text})


def _checksum(header: bytes, tensors: Mapping[str, Tensor]) -> UInt8[Tensor, " bytes"]:
    digest = hashlib.blake2b(header, digest_size=_CHECKSUM_BYTES)
    for key in sorted(tensors):
        digest.update(tensors[key].flatten().view(torch.uint8).numpy().data)
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def _read(name: str) -> tuple[bytes, str, bytes]:
    """Read a file's header, the description in it, and the tensors' bytes behind it."""
    try:
        mode = os.stat(name).st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise BadPack(f"{name!r} is {what}", hint="give the file that a video was packed into")
        with open(name, "rb") as file:
            header = _read_header(file)
            if not header:
                raise BadPack(f"{name!r} is empty (0 bytes)", hint=_AGAIN)
            text = _description_for(name, header)
            return header, text, file.read()
    except FileNotFoundError as error:
        raise BadPack(f"there is no file {name!r}", hint="check the path, or pack a video into it") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadPack(f"{name!r} cannot be opened: {reason}", hint="check the path and its permissions") from error


def _read_header(file: BinaryIO) -> bytes:
    """Read a safetensors header, its length before it; no more than that length where it can be none."""
    length = file.read(_LENGTH_BYTES)
    size = int.from_bytes(length, "little")
    return length + file.read(size) if size <= _LARGEST_HEADER_BYTES else length


def _find_description(header: bytes) -> tuple[str, str] | None:
    """Find the format of packed videos that a header names, and the description; None where it is another's header."""
    try:
        metadata: dict[str, str] = json.loads(header[_LENGTH_BYTES:].decode())["__metadata__"]
        return next(((key, text) for key, text in metadata.items() if key.startswith(_FORMATS)), None)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):  # no JSON, or of another build
        return None


def _description_for(name: str, header: bytes) -> str:
    found = _find_description(header)
    if found is None:
        raise BadPack(f"{name!r} is no packed video, or its beginning is damaged", hint=_AGAIN)
    there, text = found
    if there != FORMAT:
        raise BadPack(
            f"{name!r} is of the format {there!r}, but vidzip {__version__} reads {FORMAT!r}",
            hint=f"use a newer vidzip, or {_AGAIN} with this one",
        )
    return text


def _read_tensors(header: bytes, data: bytes) -> dict[str, Tensor]:
    """Read the tensors, and hold every byte against the checksum.

    Raises:
        ValueError: a byte is missing or changed, or there are other tensors than a packed video's.
    """
    try:
        tensors = safetensors.torch.load(header + data)
    except Exception as error:
        raise ValueError(f"it is damaged: {error}") from error
    there = tensors.pop(_CHECKSUM, torch.empty(0))
    if there.tolist() != _checksum(header, tensors).tolist():
        raise ValueError("it is damaged: its checksum is that of other content")
    kinds = {key: tensor.dtype for key, tensor in sorted(tensors.items())}
    if kinds.keys() != _DTYPES.keys() or any(kind not in _DTYPES[key] for key, kind in kinds.items()):
        raise ValueError(f"its tensors are {', '.join(f'{key} ({kind})' for key, kind in kinds.items())}")
    return tensors


def _check(tensors: Mapping[str, Tensor]) -> None:
    """Check that tensors describe tokens, and where each came from.

    Raises:
        ValueError: they do not.
    """
    tokens, frame_of, anchor_of, source, timestamps = (tensors[key] for key in _DTYPES)
    shapes = [tuple(tensors[key].shape) for key in _DTYPES]
    if tokens.ndim != 2 or source.ndim != 2 or shapes[1:3] != [tokens.shape[:1]] * 2 or shapes[4] != source.shape[:1]:
        listed = ", ".join(f"{key} {shape}" for key, shape in zip(_DTYPES, shapes, strict=True))
        raise ValueError(f"the shapes do not fit: {listed}")
    num_frames, size = source.shape
    laws = {
        "tokens hold NaN or infinity": tokens.isfinite(),
        "tokens belong to frames that are not there": (frame_of >= 0) & (frame_of < num_frames),
        "tokens do not come frame by frame": frame_of.diff() >= 0,
        "tokens stand on source positions that are not there": (anchor_of >= 0) & (anchor_of < size),
        "source tokens ended in tokens that are not there": (source >= -1) & (source < len(tokens)),
        "timestamps are no moments": timestamps.isfinite(),
    }
    broken = [says for says, holds in laws.items() if not holds.all()]
    if broken:
        raise ValueError("; ".join(broken))


def _move(packed: PackedVideo, device: str | torch.device) -> PackedVideo:
    try:
        return replace(
            packed,
            tokens=packed.tokens.to(device),
            frame_of=packed.frame_of.to(device),
            anchor_of=packed.anchor_of.to(device),
            source=packed.source.to(device),
        )
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without CUDA
        reason = str(error).partition("\n")[0]
        raise DeviceUnavailable(f"a packed video cannot be put on {device}: {reason}", hint="use cpu") from error
