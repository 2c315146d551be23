"""Convert the original Video-LLaVA to transformers' layout, and check the result against the original."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from vidzip.errors import BadArgument, BadModelFolder, ConversionMismatch, WriteError
from vidzip.files import atomic_folder
from vidzip.models.checkpoint import Checkpoint
from vidzip.models.loading import load
from vidzip.models.model import VideoModel
from vidzip.models.saving import save_checkpoint
from vidzip.models.video_llava_original import (
    is_original,
    load_original_tokenizer,
    original_preprocessor,
    read_original_config,
    read_original_weights,
)
from vidzip.models.weights import stored_weights
from vidzip.video.decoding import Frames

QUESTION = "What is shown in the video?"
"""Question about a clip of noise, for the comparison of logits."""

_TOKENS_PER_FRAME = 16
"""Visual tokens of each frame in the comparison; by attention, each depends on the whole frame."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Result of a conversion.

    Attributes:
        folder: the converted checkpoint.
        num_weights: tensors written; each was read again and is equal to the original's, bit by bit.
        num_temporal_weights: tensors of attention over time among them.
        size_bytes: size of all files.
        num_logits: logits compared; each is equal to the original's.
    """

    folder: str
    num_weights: int
    num_temporal_weights: int
    size_bytes: int
    num_logits: int


@dataclass(frozen=True, kw_only=True)
class _Behavior:
    """What is compared of two checkpoints."""

    logits: Float[Tensor, "1 length vocabulary"]
    chat_turn: tuple[int, ...]
    tower_fingerprint: str
    stop_token_ids: list[int]


def convert(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Conversion:
    """Write an original checkpoint in the layout of transformers' port, temporal weights included.

    Weights keep the precision they are stored in, and are compared with the original's bit by bit. Both checkpoints,
    one loaded after the other, also get the same prompt about a clip of noise: their logits must be equal. ``out``
    appears only after all checks.

    Args:
        folder: the original, such as a snapshot of ``LanguageBind/Video-LLaVA-7B``.
        out: a new or empty folder.
        device: device of the comparison, as in :func:`vidzip.load`.
        dtype: precision of the comparison, as in :func:`vidzip.load`.
        on_progress: called with each step, its number and the number of steps, as it starts.

    Raises:
        BadModelFolder: the folder is not an original checkpoint, or is incomplete.
        NotInstalled: the tokenizer needs an optional library.
        BadArgument: ``out`` is the folder itself.
        WriteError: ``out`` is not empty, or cannot be written; ``DiskFull`` if there is not enough space.
        ConversionMismatch: the weights or the logits differ.
    """
    source, target = Path(folder), Path(os.path.realpath(out))  # if out is a link, its target is written
    if not source.is_dir():
        raise BadModelFolder(f"there is no folder {os.fspath(folder)!r}", hint="give the original checkpoint's folder")
    if source.resolve() == target:
        raise BadArgument(f"{os.fspath(out)!r} is the original itself", hint="give another folder to write to")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise WriteError(f"{os.fspath(out)!r} exists already", hint="give a new or empty folder")
    if target.is_mount():
        raise WriteError(
            f"{os.fspath(out)!r} is a mount point, which cannot be replaced", hint="give a folder inside it"
        )
    checkpoint = Checkpoint.open(source)
    if not is_original(checkpoint.config):
        raise BadModelFolder(
            f"{source} is not an original Video-LLaVA: its config has no mm_video_tower",
            hint="only the original needs conversion; vidzip.load reads other checkpoints as they are",
        )

    def show(step: str, done: int) -> None:
        if on_progress:
            on_progress(step, done, 3)

    with atomic_folder(os.fspath(target)) as partial:  # before any work, in case it cannot be created
        converted = Path(partial)
        show("run the original", 0)
        expected = _behavior(source, device, dtype)
        show("write", 1)
        names = _write(checkpoint, converted)
        show("run the converted", 2)
        _compare(expected, _behavior(converted, device, dtype))
        size = sum(file.stat().st_size for file in converted.iterdir())
    return Conversion(
        folder=os.fspath(out),
        num_weights=len(names),
        num_temporal_weights=sum("temporal_" in name for name in names),
        size_bytes=size,
        num_logits=expected.logits.numel(),
    )


def _write(checkpoint: Checkpoint, target: Path) -> list[str]:
    """Write a checkpoint, and compare its weights with the original's; returns their names."""
    config = read_original_config(checkpoint.folder, checkpoint.config)
    config.architectures = ["TemporalVideoLlava"]
    weights = read_original_weights(checkpoint.folder)
    dtypes = {weight.dtype for weight in weights.values()}
    config.dtype = dtypes.pop() if len(dtypes) == 1 else None
    tokenizer = _as_fast_tokenizer(load_original_tokenizer(checkpoint, config))
    save_checkpoint(target, weights, config, tokenizer, original_preprocessor(config))
    written = dict(stored_weights(target))
    changed = [
        name for name, weight in weights.items() if name not in written or not _bits_equal(weight, written[name])
    ]
    if changed:
        raise ConversionMismatch(
            f"{len(changed)} weights differ after writing ({', '.join(changed[:3])}, …)",
            hint="check the disk, and convert again",
        )
    return list(written)


def _as_fast_tokenizer(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerFast:
    """Make a tokenizer that is saved completely; a LLaMA tokenizer is rebuilt on load, and loses its ``legacy``."""
    backend: Any = tokenizer
    return PreTrainedTokenizerFast(
        tokenizer_object=backend.backend_tokenizer,
        padding_side=tokenizer.padding_side,
        model_max_length=tokenizer.model_max_length,
        clean_up_tokenization_spaces=False,
        **tokenizer.special_tokens_map,
    )


def _bits_equal(one: Tensor, other: Tensor) -> bool:
    """Whether two weights are equal in dtype, shape and every bit."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    bits, others = (weight.contiguous().flatten().view(torch.uint8) for weight in (one, other))
    return torch.equal(bits, others)


def _compare(original: _Behavior, converted: _Behavior) -> None:
    """Check that the converted checkpoint behaves as the original.

    Raises:
        ConversionMismatch: it does not.
    """
    if not torch.equal(original.logits, converted.logits):
        same_shape = original.logits.shape == converted.logits.shape
        difference = f"by up to {(original.logits - converted.logits).abs().max():.3g}" if same_shape else "in number"
        raise ConversionMismatch(
            f"the converted model's logits differ from the original's {difference}",
            hint="try again with --dtype float32 --device cpu",
        )
    for name in ("chat_turn", "tower_fingerprint", "stop_token_ids"):
        expected, found = getattr(original, name), getattr(converted, name)
        if expected != found:
            raise ConversionMismatch(
                f"the converted model's {name} is {found}, but the original's is {expected}",
                hint="please report it, with the original's config and tokenizer files",
            )


def _behavior(folder: Path, device: str | torch.device, dtype: str | torch.dtype) -> _Behavior:
    """Load a checkpoint, run it, and free its memory: two would often not fit."""
    model = load(folder, device=device, dtype=dtype)
    behavior = _Behavior(
        logits=noise_logits(model).cpu(),
        chat_turn=model.family.chat_turn(QUESTION),
        tower_fingerprint=model.tower_fingerprint,
        stop_token_ids=model.family.stop_token_ids,
    )
    del model
    gc.collect()
    return behavior


def noise_logits(model: VideoModel) -> Float[Tensor, "1 length vocabulary"]:
    """Compute a model's logits for a question about one clip of noise, the same in every run."""
    side = model.config.vision_config.image_size
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (model.frames_per_clip, 3, side, side), generator=random, dtype=torch.uint8)
    times = tuple(float(number) for number in range(len(pixels)))
    features = model.encode(Frames(pixels=pixels, timestamps_seconds=times))
    with torch.no_grad():
        visual = model.family.project(features.tokens[:, :_TOKENS_PER_FRAME].flatten(0, 1))
        logits: Tensor = model.network(inputs_embeds=model.language.embed(QUESTION, visual)).logits
    return logits
