"""A checkpoint folder: its config, tokenizer and weights, read with every weight accounted for."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from vidzip.encoders.weights import check_weights, raise_for_problems, shape_mismatch
from vidzip.errors import BadModelFolder, NotInstalled, VidzipError
from vidzip.models.placing import Placement
from vidzip.models.weights import stored_weights, weight_files


@dataclass(frozen=True)
class Checkpoint:
    """A folder with ``config.json``, weights, tokenizer and preprocessor settings.

    Attributes:
        folder: its path.
        config: the content of ``config.json``.
    """

    folder: Path
    config: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Read a folder's config and find its weights.

        Raises:
            BadModelFolder: the config is missing or cannot be read, or there are no weights.
        """
        config = read_settings(folder / "config.json")
        weight_files(folder)
        return cls(folder, config)

    @cached_property
    def weight_names(self) -> tuple[str, ...]:
        """Names of all weights, as they are stored.

        Raises:
            BadModelFolder: a file is missing or cannot be read, or two hold the same weight.
        """
        return tuple(name for name, _ in stored_weights(self.folder))

    def tokenizer(self, kind: Any = AutoTokenizer, **options: Any) -> PreTrainedTokenizerBase:
        """Load the tokenizer.

        Args:
            kind: transformers' tokenizer class; by default the config names it.
            options: settings that override those of the folder.

        Raises:
            BadModelFolder: there is no usable tokenizer.
            NotInstalled: there is only a SentencePiece model, and the library that reads it is not installed.
        """
        folder = self.folder
        if (folder / "tokenizer.model").is_file() and not (folder / "tokenizer.json").is_file():
            needed = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
            missing = [package for module, package in needed.items() if not _is_installed(module)]
            if missing:
                raise NotInstalled(
                    f"{folder} has only a SentencePiece tokenizer, which needs {' and '.join(missing)}",
                    hint="pip install 'vidzip[original]'; a converted folder does not need it",
                )
        try:
            with quiet_libraries():
                tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False, **options
                )
        except Exception as error:
            raise BadModelFolder(
                f"{folder} has no usable tokenizer: {first_line(error)}", hint=_TOKENIZER_HINT
            ) from error
        tokenizer.padding_side = "left"
        return tokenizer

    def tokenizer_for(
        self, config: PreTrainedConfig, kind: Any = AutoTokenizer, **options: Any
    ) -> PreTrainedTokenizerBase:
        """Load the tokenizer, see :meth:`tokenizer`, and check it against the model's vocabulary.

        Raises:
            BadModelFolder: it has special tokens only (as an empty LLaMA tokenizer), or more ids than the model.
        """
        tokenizer = self.tokenizer(kind, **options)
        text_config: Any = config.get_text_config()
        vocabulary = tokenizer.get_vocab()
        if set(vocabulary) <= set(tokenizer.all_special_tokens):
            raise BadModelFolder(f"the tokenizer in {self.folder} has no vocabulary", hint=_TOKENIZER_HINT)
        if max(vocabulary.values()) >= text_config.vocab_size:
            raise BadModelFolder(
                f"the tokenizer in {self.folder} has ids up to {max(vocabulary.values())}, but its model has a "
                f"vocabulary of {text_config.vocab_size}",
                hint="use the tokenizer files that came with the checkpoint",
            )
        return tokenizer

    def outline(self, kind: Any, read_config: Callable[[], PreTrainedConfig]) -> tuple[Any, Any]:
        """Build a model without weights: which names and shapes are needed.

        Args:
            kind: the model's class.
            read_config: makes its config.

        Returns:
            The config and the model, on the meta device.

        Raises:
            BadModelFolder: the config makes no model.
        """
        try:
            with quiet_libraries(), torch.device("meta"):
                config = read_config()
                return config, kind(config)
        except BadModelFolder:
            raise
        except Exception as error:
            reason, hint = (error.message, error.hint) if isinstance(error, VidzipError) else (first_line(error), "")
            raise BadModelFolder(
                f"the config in {self.folder} makes no model: {reason}",
                hint=hint or "download the checkpoint's config again",
            ) from error

    def check_weights(self, outline: Any, stored: dict[str, Tensor]) -> None:
        """Check a model's weights before they are loaded, see :func:`vidzip.encoders.weights.check_weights`."""
        check_weights(f"in {self.folder}", outline.state_dict(), stored, tied=outline.all_tied_weights_keys)

    def load_weights(self, outline: Any, placement: Placement, weights: dict[str, Tensor] | None = None) -> Any:
        """Load a model with its weights, and account for every one.

        Args:
            outline: the model without weights, from :meth:`outline`.
            placement: devices and precision.
            weights: by the model's names; those of the folder by default.

        Raises:
            BadModelFolder: a weight is missing, unexpected or of another shape, or cannot be read.
        """
        placement.check_device_map(outline)
        stored = weights.items() if weights is not None else stored_weights(self.folder)
        placement = placement.for_weights(weight for _, weight in stored)
        source: dict[str, Any] = {"state_dict": weights} if weights is not None else {}
        try:
            with quiet_libraries():
                model, report = type(outline).from_pretrained(
                    None if weights is not None else self.folder,
                    config=outline.config,
                    local_files_only=True,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,  # they are refused below, by name
                    output_loading_info=True,
                    **placement.loading_options(),
                    **source,
                )
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            hint = "download the whole checkpoint again"
            if placement.device_map is not None and weights is not None:
                hint = "to keep weights on the disk, convert the checkpoint first, with 'vidzip convert'"
            raise BadModelFolder(
                f"the weights in {self.folder} cannot be loaded: {first_line(error)}", hint=hint
            ) from error
        raise_for_problems(
            f"in {self.folder}",
            {
                "missing": report["missing_keys"],
                "unexpected": report["unexpected_keys"],
                "mis-shaped": [shape_mismatch(*one) for one in report["mismatched_keys"]],
            },
        )
        return model


_TOKENIZER_HINT = "add the checkpoint's tokenizer.json or tokenizer.model, and its tokenizer_config.json"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False


def read_settings(file: Path) -> dict[str, Any]:
    """Read a JSON file of settings of a checkpoint.

    Raises:
        BadModelFolder: it does not exist, cannot be read, or is no JSON object.
    """
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadModelFolder(
            f"{file.parent} has no {file.name}", hint="give a checkpoint folder, with its config and weights"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadModelFolder(f"{file} cannot be read: {error}", hint="download the checkpoint again") from error
    if not isinstance(settings, dict):
        raise BadModelFolder(f"{file} is not a JSON object", hint="download the checkpoint again")
    return settings


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the progress bars and logs of transformers and accelerate; errors are raised."""
    was_shown, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    accelerate = logging.getLogger("accelerate")
    level = accelerate.level
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    accelerate.setLevel(logging.ERROR)
    try:
        yield
    finally:
        accelerate.setLevel(level)
        transformers_logging.set_verbosity(verbosity)
        if was_shown:
            transformers_logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """Shorten an error's text to its first line; to two lines if the first only announces the second."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return f"{type(error).__name__}: {text}" if isinstance(error, KeyError) else text
