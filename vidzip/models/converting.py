"""The original Video-LLaVA as safetensors: nothing left out, and held against itself before and after."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LlamaTokenizer

from vidzip.errors import BadArgument, BadModelFolder, ConversionMismatch, WriteError
from vidzip.features import FrameFeatures
from vidzip.models.loading import load, load_tokenizer, read_config
from vidzip.models.original import is_original, original_name, original_preprocessor, read_original_config
from vidzip.models.prompting import embed_prompt
from vidzip.models.saving import save_checkpoint
from vidzip.models.video_llava import VideoLlava
from vidzip.models.weights import stored_weights
from vidzip.video.decoding import Frames

QUESTION = "What is shown in the video?"
"""What is asked of both, about a clip of noise."""

_TOKENS_A_FRAME = 16
"""Visual tokens of each frame that both are shown: enough that every weight takes part."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What became of a checkpoint.

    Attributes:
        folder: where it is.
        num_weights: tensors written.
        num_temporal_weights: those of attention over time, among them.
        size_bytes: of all files.
        num_logits: numbers that both gave, all of them the same.
    """

    folder: str
    num_weights: int
    num_temporal_weights: int
    size_bytes: int
    num_logits: int


def convert(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Converted:
    """Write an original checkpoint anew, in the layout of transformers' port with the temporal weights kept.

    Weights are written in the precision they are stored in, bit by bit. Both checkpoints are then asked about the same
    noise, one after the other; the answers' logits have to be equal.

    Args:
        folder: the original, such as a snapshot of ``LanguageBind/Video-LLaVA-7B``.
        out: a new or empty folder.
        device: where both are asked, as :func:`vidzip.load` takes it.
        dtype: the precision both are asked in.
        on_progress: called as the steps begin.

    Raises:
        BadModelFolder: the folder holds no original checkpoint, or not all of it.
        NotInstalled: the tokenizer cannot be read without an optional library.
        WriteError: ``out`` holds something.
        OSError: it cannot be written.
        ConversionMismatch: the logits differ.
    """
    source, target = Path(folder), Path(out)
    if not source.is_dir():
        raise BadModelFolder(f"there is no folder {os.fspath(folder)!r}", hint="give the original checkpoint's folder")
    settings = read_config(source)
    if not is_original(settings):
        raise BadModelFolder(
            f"{source} holds no original Video-LLaVA: its config names no mm_video_tower",
            hint="only the original needs converting; vidzip.load reads the others as they are",
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise WriteError(f"{os.fspath(out)!r} is there already", hint="give a new or empty folder")
    if source.resolve() == target.resolve():
        raise BadArgument("the folder is to be converted into itself", hint="give another folder to write to")

    def tell(step: str, done: int) -> None:
        if on_progress:
            on_progress(step, done, 3)

    tell("ask the original", 0)
    logits, tower = _ask(source, device, dtype)
    tell("write", 1)
    config = read_original_config(source, settings)
    config.architectures = ["TemporalVideoLlava"]
    weights = {original_name(name): weight.contiguous() for name, weight in stored_weights(source)}
    config.dtype = next(iter(weights.values())).dtype
    save_checkpoint(target, weights, config, load_tokenizer(source, LlamaTokenizer), original_preprocessor(config))
    counts = len(weights), sum("temporal_" in name for name in weights)
    del weights
    tell("ask the converted", 2)
    new_logits, new_tower = _ask(target, device, dtype)
    if not torch.equal(logits, new_logits) or tower != new_tower:
        difference = (logits - new_logits).abs().max() if logits.shape == new_logits.shape else torch.nan
        raise ConversionMismatch(
            f"the converted model's logits differ from the original's, by up to {float(difference):.3g}",
            hint="the converted folder is not to be used; try again with --dtype float32 --device cpu",
        )
    return Converted(
        folder=os.fspath(out),
        num_weights=counts[0],
        num_temporal_weights=counts[1],
        size_bytes=sum(file.stat().st_size for file in target.iterdir()),
        num_logits=logits.numel(),
    )


def _ask(folder: Path, device: str | torch.device, dtype: str | torch.dtype) -> tuple[Float[Tensor, "..."], str]:
    """Load a checkpoint, ask it, and let go of it, so that only one of the two is in memory at a time."""
    model = load(folder, device=device, dtype=dtype)
    logits = noise_logits(model).cpu()
    tower = model.tower_fingerprint
    del model
    gc.collect()
    return logits, tower


def noise_logits(model: VideoLlava) -> Float[Tensor, "1 length vocabulary"]:
    """The model's logits over a question about one clip of noise, the same every time."""
    side = model.config.vision_config.image_size
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (model.frames_per_clip, 3, side, side), generator=random, dtype=torch.uint8)
    times = tuple(float(number) for number in range(len(pixels)))
    features: FrameFeatures = model.encode(Frames(pixels=pixels, timestamps_seconds=times))
    with torch.no_grad():
        visual = model.projector(features.hidden[:, :_TOKENS_A_FRAME].flatten(0, 1))
        prompt = embed_prompt(model.prompting.opening(QUESTION), visual, model.model.get_input_embeddings())
        logits: Tensor = model.model(inputs_embeds=prompt).logits
    return logits
