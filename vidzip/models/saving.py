"""Write checkpoint folders that :func:`vidzip.load` reads."""

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
"""Largest size of a weights file."""


def save_checkpoint(
    folder: Path,
    weights: Mapping[str, Tensor],
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    preprocessor: FramePreprocessor,
) -> None:
    """Write weights as safetensors, in shards of up to :data:`MAX_SHARD_SIZE`, with config, tokenizer and preprocessor.

    Args:
        folder: new or empty.
        weights: by parameter name, in the precision to store; weights that share memory are all written.
        config: the model's config.
        tokenizer: the model's tokenizer.
        preprocessor: the model's preprocessor.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with system_errors():
        save_torch_state_dict(_unshared(weights), folder, max_shard_size=MAX_SHARD_SIZE, metadata={"format": "pt"})
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = json.dumps(preprocessor.to_config(), indent=1)
    (folder / "preprocessor_config.json").write_text(settings + "\n", encoding="utf-8")
    for shard in folder.glob("*.safetensors"):  # safetensors makes them readable by their owner only
        os.chmod(shard, (folder / "config.json").stat().st_mode)


def _unshared(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy weights that share a storage or are part of one; the hub's writer would drop them."""
    seen: set[int] = set()
    unshared: dict[str, Tensor] = {}
    for name, weight in weights.items():
        storage = weight.untyped_storage()
        owns_storage = storage.data_ptr() not in seen and storage.nbytes() == weight.nbytes and weight.is_contiguous()
        unshared[name] = weight if owns_storage else weight.clone(memory_format=torch.contiguous_format)
        seen.add(storage.data_ptr())
    return unshared


@contextmanager
def system_errors() -> Iterator[None]:
    """Raise the ``OSError`` that a ``SafetensorError`` carries as text."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        raise (OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))) from error
