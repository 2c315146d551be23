"""Checkpoint folders: written as :func:`vidzip.load` reads them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from vidzip.encoders import FramePreprocessor

MAX_SHARD_SIZE = "5GB"
"""What one file of weights may take."""


def save_checkpoint(
    folder: Path,
    weights: Mapping[str, Tensor],
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    preprocessor: FramePreprocessor,
) -> None:
    """Write weights as safetensors, in shards of up to :data:`MAX_SHARD_SIZE`, with what belongs to them.

    Args:
        folder: new or empty.
        weights: by the names of the model's modules, in the precision they are to be kept in. Each is written, those
            that share memory too.
        config: the model's.
        tokenizer: the model's.
        preprocessor: its pictures' preparation.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with system_errors():
        save_torch_state_dict(_apart(weights), folder, max_shard_size=MAX_SHARD_SIZE, metadata={"format": "pt"})
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = json.dumps(preprocessor.to_config(), indent=1)
    (folder / "preprocessor_config.json").write_text(settings + "\n", encoding="utf-8")
    for shard in folder.glob("*.safetensors"):  # safetensors lets the owner alone read them
        os.chmod(shard, (folder / "config.json").stat().st_mode)


def _apart(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy weights that share memory, or fill a part of it: the hub's writer keeps one of them, or none."""
    seen: set[int] = set()
    apart: dict[str, Tensor] = {}
    for name, weight in weights.items():
        storage = weight.untyped_storage()
        is_alone = storage.data_ptr() not in seen and storage.nbytes() == weight.nbytes and weight.is_contiguous()
        apart[name] = weight if is_alone else weight.clone(memory_format=torch.contiguous_format)
        seen.add(storage.data_ptr())
    return apart


@contextmanager
def system_errors() -> Iterator[None]:
    """Turn what safetensors wraps into text back into what the system said."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        raise (OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))) from error
