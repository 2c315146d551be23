"""The original Video-LLaVA as safetensors: nothing left out, and held against itself before and after."""

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
    original_preprocessor,
    original_tokenizer,
    original_weights,
    read_original_config,
)
from vidzip.models.weights import stored_weights
from vidzip.video.decoding import Frames

QUESTION = "What is shown in the video?"
"""What is asked of both, about a clip of noise."""

_TOKENS_A_FRAME = 16
"""Visual tokens of each frame that both are shown; all of a frame's have a part in each of them."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What became of a checkpoint.

    Attributes:
        folder: where it is.
        num_weights: tensors written, and read again, bit by bit the same.
        num_temporal_weights: those of attention over time, among them.
        size_bytes: of all files.
        num_logits: numbers that both gave, all of them the same.
    """

    folder: str
    num_weights: int
    num_temporal_weights: int
    size_bytes: int
    num_logits: int


@dataclass(frozen=True, kw_only=True)
class _Said:
    """What a checkpoint gives, to be held against another's."""

    logits: Float[Tensor, "1 length vocabulary"]
    turn: tuple[int, ...]
    tower: str
    eos_token_ids: list[int]


def convert(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Converted:
    """Write an original checkpoint anew, in the layout of transformers' port with the temporal weights kept.

    Weights are written in the precision they are stored in, and held against the original's, bit by bit. Both
    checkpoints are also asked about the same noise, one after the other; the answers' logits have to be equal. The
    folder appears once all of that has gone well.

    Args:
        folder: the original, such as a snapshot of ``LanguageBind/Video-LLaVA-7B``.
        out: a new or empty folder.
        device: where both are asked, as :func:`vidzip.load` takes it.
        dtype: the precision both are asked in.
        on_progress: called as the steps begin.

    Raises:
        BadModelFolder: the folder holds no original checkpoint, or not all of it.
        NotInstalled: the tokenizer cannot be read without an optional library.
        BadArgument: ``out`` is the folder itself.
        WriteError: ``out`` holds something, or cannot be written; ``DiskFull`` where there is no room.
        ConversionMismatch: the weights, or what the models say, differ.
    """
    source, target = Path(folder), Path(os.path.realpath(out))  # a link's folder is replaced, not the link
    if not source.is_dir():
        raise BadModelFolder(f"there is no folder {os.fspath(folder)!r}", hint="give the original checkpoint's folder")
    if source.resolve() == target:
        raise BadArgument("the folder is to be converted into itself", hint="give another folder to write to")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise WriteError(f"{os.fspath(out)!r} is there already", hint="give a new or empty folder")
    if target.is_mount():
        raise WriteError(
            f"{os.fspath(out)!r} is where a file system begins, and cannot be replaced as a whole",
            hint="give a folder within it",
        )
    checkpoint = Checkpoint.open(source)
    if not is_original(checkpoint.config):
        raise BadModelFolder(
            f"{source} holds no original Video-LLaVA: its config names no mm_video_tower",
            hint="only the original needs converting; vidzip.load reads the others as they are",
        )

    def tell(step: str, done: int) -> None:
        if on_progress:
            on_progress(step, done, 3)

    with atomic_folder(
        os.fspath(target)
    ) as partial:  # first of all, so that a folder that cannot be made costs no work
        place = Path(partial)
        tell("ask the original", 0)
        said = _ask(source, device, dtype)
        tell("write", 1)
        names = _write(checkpoint, place)
        tell("ask the converted", 2)
        _compare(said, _ask(place, device, dtype))
        size = sum(file.stat().st_size for file in place.iterdir())
    return Converted(
        folder=os.fspath(out),
        num_weights=len(names),
        num_temporal_weights=sum("temporal_" in name for name in names),
        size_bytes=size,
        num_logits=said.logits.numel(),
    )


def _write(checkpoint: Checkpoint, target: Path) -> list[str]:
    """Write a checkpoint, and hold its weights against the original's; returns their names."""
    config = read_original_config(checkpoint.folder, checkpoint.config)
    config.architectures = ["TemporalVideoLlava"]
    weights = original_weights(checkpoint.folder)
    dtypes = {weight.dtype for weight in weights.values()}
    config.dtype = dtypes.pop() if len(dtypes) == 1 else None
    tokenizer = _whole_in_json(original_tokenizer(checkpoint, config))
    save_checkpoint(target, weights, config, tokenizer, original_preprocessor(config))
    written = dict(stored_weights(target))
    changed = [name for name, weight in weights.items() if name not in written or not _same(weight, written[name])]
    if changed:
        raise ConversionMismatch(
            f"{len(changed)} weights were written, but are read differently ({', '.join(changed[:3])}, …)",
            hint="check the disk, and convert again",
        )
    return list(written)


def _whole_in_json(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokenizer.json says all; a LLaMA's is rebuilt when loaded, and forgets whether it is legacy."""
    backend: Any = tokenizer
    return PreTrainedTokenizerFast(
        tokenizer_object=backend.backend_tokenizer,
        padding_side=tokenizer.padding_side,
        model_max_length=tokenizer.model_max_length,
        clean_up_tokenization_spaces=False,
        **tokenizer.special_tokens_map,
    )


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two weights are the same in kind, shape, and every bit."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    bits, others = (weight.contiguous().flatten().view(torch.uint8) for weight in (one, other))
    return torch.equal(bits, others)


def _compare(before: _Said, after: _Said) -> None:
    """Hold what the converted says against what the original says.

    Raises:
        ConversionMismatch: they differ.
    """
    if not torch.equal(before.logits, after.logits):
        same_shape = before.logits.shape == after.logits.shape
        difference = f"by up to {(before.logits - after.logits).abs().max():.3g}" if same_shape else "in number"
        raise ConversionMismatch(
            f"the converted model's logits differ from the original's {difference}",
            hint="try again with --dtype float32 --device cpu",
        )
    for what in ("turn", "tower", "eos_token_ids"):
        one, other = getattr(before, what), getattr(after, what)
        if one != other:
            raise ConversionMismatch(
                f"the converted model's {what} is {other}, but the original's is {one}",
                hint="please report it, with the original's config and tokenizer files",
            )


def _ask(folder: Path, device: str | torch.device, dtype: str | torch.dtype) -> _Said:
    """Load a checkpoint, ask it, and let go of it, so that only one of the two is in memory at a time."""
    model = load(folder, device=device, dtype=dtype)
    said = _Said(
        logits=noise_logits(model).cpu(),
        turn=model.family.chat_turn(QUESTION),
        tower=model.tower_fingerprint,
        eos_token_ids=model.family.stop_token_ids,
    )
    del model
    gc.collect()
    return said


def noise_logits(model: VideoModel) -> Float[Tensor, "1 length vocabulary"]:
    """The model's logits over a question about one clip of noise, the same every time."""
    side = model.config.vision_config.image_size
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (model.frames_per_clip, 3, side, side), generator=random, dtype=torch.uint8)
    times = tuple(float(number) for number in range(len(pixels)))
    features = model.encode(Frames(pixels=pixels, timestamps_seconds=times))
    with torch.no_grad():
        visual = model.family.project(features.tokens[:, :_TOKENS_A_FRAME].flatten(0, 1))
        logits: Tensor = model.network(inputs_embeds=model.language.embed(QUESTION, visual)).logits
    return logits
