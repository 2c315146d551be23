"""From a name or a folder to a model that can be asked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from torch import Tensor
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
)

from vidzip.encoders import FramePreprocessor, Preprocessor, read_preprocessor
from vidzip.errors import BadArgument, BadModelFolder, NotInstalled, UnknownModel, VidzipError
from vidzip.models import tiny_random
from vidzip.models.memory import batch_frames, memory_errors, tower_memory_bytes
from vidzip.models.original import (
    MODEL_TYPE,
    TemporalVideoLlava,
    TemporalVideoLlavaConfig,
    is_original,
    original_preprocessor,
    original_weights,
    read_original_config,
)
from vidzip.models.placing import DeviceMap, Placement, place
from vidzip.models.prompting import OriginalPrompting, PortPrompting
from vidzip.models.reading import first_line, quietly, read_settings
from vidzip.models.video_llava import VideoLlava
from vidzip.models.weights import check_weights, mis_shaped, refuse, shards, stored_weights

Parts = tuple[VideoLlavaForConditionalGeneration, PreTrainedTokenizerBase, FramePreprocessor]

BUILT_IN: dict[str, Path | Callable[[], Parts]] = {
    "tiny": Path(__file__).with_name("checkpoints") / "tiny",
    "tiny-random": tiny_random.build,
}
"""Models that need no download, by name: the folder of a checkpoint that ships, or what builds the model."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ("*.json", "tokenizer*")
_SAFETENSORS, _PICKLES = "*.safetensors", "pytorch_model*.bin"


def load(
    model_id_or_folder: str | os.PathLike[str],
    revision: str | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    *,
    quantize: str | None = None,
    device_map: DeviceMap | None = None,
    compile_tower: bool = False,
) -> VideoLlava:
    """Load a Video-LLaVA: transformers' port, the original, or the original converted.

    Which of them it is, its config and the names of its weights say; every weight has to find its place.

    Args:
        model_id_or_folder: a name in :data:`BUILT_IN`, a folder, or a model id of the hub:
            ``"LanguageBind/Video-LLaVA-7B"`` for the original, ``"LanguageBind/Video-LLaVA-7B-hf"`` for the port.
        revision: branch, tag or commit of a model on the hub.
        device: ``"auto"`` takes CUDA, else MPS, else the CPU.
        dtype: ``"auto"`` takes bfloat16 on CUDA (float16 where it lacks bfloat16), float16 on MPS. On a CPU it takes
            float32; but bfloat16 for 100 million weights and more that are all stored in half precision, if a product,
            tried out in a few seconds, is clearly faster in it. A checkpoint stored in float32, or a small one such as
            ``"tiny"``, is float32 on every CPU.
        quantize: ``"8bit"`` or ``"4bit"``: the language model's layers, on CUDA, through bitsandbytes.
        device_map: ``"auto"``, or a device by module: for models larger than one device, through accelerate.
        compile_tower: see :attr:`VideoLlava.compile_tower <vidzip.models.video_llava.VideoLlava>`.

    Raises:
        UnknownModel: no such built-in model or folder, and the hub gives out none of that name.
        BadModelFolder: the folder lacks a file or a weight, or holds a model of another kind.
        DeviceUnavailable: the device is not there, or cannot do this.
        NotInstalled: an optional library is needed: for quantising, spreading, or the original's tokenizer.
        OutOfMemory: the device cannot hold the weights.
        BadArgument: an unknown device, dtype or quantisation, a device map that does not fit the model, or a revision
            of what has none.
    """
    name = os.fspath(model_id_or_folder)
    placement = place(device, dtype, quantize, device_map)
    is_local = name in BUILT_IN or os.path.isdir(name)
    if is_local and revision is not None:
        raise BadArgument(
            f"revision {revision!r} of {name!r}, which is no model of the hub", hint="leave the revision out"
        )
    source = BUILT_IN.get(name)
    if source is None:
        source = Path(name) if is_local else _download(name, revision)
    if isinstance(source, Path):
        with memory_errors(f"loading {name}"):
            loaded = _load_folder(name, source, placement)
    elif placement.is_spread:
        raise BadArgument(f"{name} is too small to be spread or quantised", hint="leave quantize and device_map out")
    else:
        loaded = _build(name, source, placement)
    model = replace(
        loaded,
        compile_tower=compile_tower,
        batch_frames=batch_frames(loaded.device),
        tower_memory_bytes=tower_memory_bytes(loaded.device),
    )
    if model.stored is not None:
        model.tower_fingerprint  # noqa: B018 - every pack needs it: of a file it is hashed now, and no question waits
    return model


def _build(name: str, build: Callable[[], Parts], placement: Placement) -> VideoLlava:
    model, tokenizer, preprocessor = build()
    for weight in model.parameters():
        # Weights alone take the dtype, as in from_pretrained: rounded buffers (the rotary frequencies) would turn
        # distant positions by radians.
        weight.data = weight.data.to(placement.dtype)
    return VideoLlava(
        name=name,
        model=_ready(model, placement),
        tokenizer=tokenizer,
        preprocessor=preprocessor,
        prompting=PortPrompting(tokenizer=tokenizer, video_token_id=model.config.video_token_index),
    )


def _ready(model: Any, placement: Placement) -> VideoLlavaForConditionalGeneration:
    if not placement.is_spread:
        model = model.to(placement.device)
    placed: VideoLlavaForConditionalGeneration = model.eval()
    # generate() fills what a call leaves open from here: a checkpoint's own sampling must not steer greedy decoding.
    placed.generation_config = GenerationConfig(eos_token_id=placed.generation_config.eos_token_id, do_sample=False)
    return placed


def _load_folder(name: str, folder: Path, placement: Placement) -> VideoLlava:
    config = read_config(folder)
    kind = config.get("model_type")
    shards(folder)
    if is_original(config):
        parts = _load_original(folder, config, placement)
    elif kind == MODEL_TYPE:
        parts = _load_converted(folder, config, placement)
    elif kind == VideoLlavaConfig.model_type:
        parts = _load_port(folder, config, placement)
    else:
        raise BadModelFolder(
            f"{folder} holds a model of type {kind!r}",
            hint="give a Video-LLaVA: transformers' (type 'video_llava', such as Video-LLaVA-7B-hf), the original "
            "(whose config names an mm_video_tower), or one that vidzip converted",
        )
    model, tokenizer, preprocessor = parts
    vision: Any = model.config.vision_config
    if (preprocessor.crop_height, preprocessor.crop_width) != (vision.image_size, vision.image_size):
        raise BadModelFolder(
            f"{folder} crops pictures to {preprocessor.crop_width}x{preprocessor.crop_height}, but its tower takes "
            f"{vision.image_size}x{vision.image_size}",
            hint="use the preprocessor settings that came with the checkpoint",
        )
    is_temporal = isinstance(model, TemporalVideoLlava)
    return VideoLlava(
        name=name,
        model=_ready(model, placement),
        tokenizer=tokenizer,
        preprocessor=preprocessor,
        prompting=OriginalPrompting(tokenizer=tokenizer)
        if is_temporal
        else PortPrompting(tokenizer=tokenizer, video_token_id=model.config.video_token_index),
        policy="linspace" if is_temporal else "middle",
        stored=folder,
    )


def _load_port(folder: Path, settings: dict[str, Any], placement: Placement) -> Parts:
    config, outline = _outline(folder, VideoLlavaForConditionalGeneration, lambda: VideoLlavaConfig.from_dict(settings))
    preprocessor = Preprocessor.from_folder(folder)
    tokenizer = _fitting(folder, load_tokenizer(folder), config)
    if any(shard.suffix != ".safetensors" for shard in shards(folder)):
        raise BadModelFolder(
            f"{folder} holds its weights as pickles, which are read of an original checkpoint alone",
            hint="take the checkpoint's safetensors files",
        )
    model = _load_weights(folder, outline, config, placement)
    # transformers knows weights by names old and new, and of two with one place it takes the last without a word.
    held, places = sum(1 for _ in stored_weights(folder)), len(list(outline.named_parameters(remove_duplicate=False)))
    if held > places:
        raise BadModelFolder(
            f"{folder} holds {held} weights for {places} places: some are there by two names",
            hint="fetch the checkpoint again",
        )
    return model, tokenizer, preprocessor


def _load_converted(folder: Path, settings: dict[str, Any], placement: Placement) -> Parts:
    config, outline = _outline(folder, TemporalVideoLlava, lambda: TemporalVideoLlavaConfig.from_dict(settings))
    preprocessor = read_preprocessor(folder)
    tokenizer = _fitting(folder, load_tokenizer(folder), config)
    _check_weights(folder, outline, dict(stored_weights(folder)))
    return _load_weights(folder, outline, config, placement), tokenizer, preprocessor


def _load_original(folder: Path, settings: dict[str, Any], placement: Placement) -> Parts:
    config, outline = _outline(folder, TemporalVideoLlava, lambda: read_original_config(folder, settings))
    tokenizer = _fitting(folder, load_original_tokenizer(folder), config)
    weights = original_weights(folder)
    _check_weights(folder, outline, weights)
    model = _load_weights(folder, outline, config, placement, weights)
    ends = settings.get("eos_token_id", tokenizer.eos_token_id)
    model.generation_config = GenerationConfig(eos_token_id=ends)
    return model, tokenizer, original_preprocessor(config)


def read_config(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's config.

    Raises:
        BadModelFolder: it is not there, or cannot be read.
    """
    return read_settings(folder / "config.json")


def load_original_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load an original checkpoint's tokenizer, a LLaMA's, as the published code does.

    Where its config does not say whether texts behind a mark get a space of their own (``legacy``), they do: so it was
    in the transformers that the published code is pinned to.

    Raises:
        BadModelFolder, NotInstalled: as :func:`load_tokenizer`.
    """
    file = folder / "tokenizer_config.json"
    settings = read_settings(file) if file.is_file() else {}
    return load_tokenizer(folder, LlamaTokenizer, legacy=settings.get("legacy", True))


def load_tokenizer(folder: Path, kind: Any = AutoTokenizer, **options: Any) -> PreTrainedTokenizerBase:
    """Load a checkpoint's tokenizer.

    Args:
        folder: the checkpoint's.
        kind: transformers' class of tokenizers; the config says which where it is left out.
        options: its settings, over those of the folder.

    Raises:
        BadModelFolder: there is none, or it cannot be used.
        NotInstalled: there is only a SentencePiece model, and what reads it is not installed.
    """
    if (folder / "tokenizer.model").is_file() and not (folder / "tokenizer.json").is_file():
        needed = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
        lacking = [package for module, package in needed.items() if not _is_installed(module)]
        if lacking:
            raise NotInstalled(
                f"{folder} holds its tokenizer as a SentencePiece model alone, and reading that needs "
                f"{' and '.join(lacking)}",
                hint="pip install 'vidzip[original]'; a converted folder does not need it",
            )
    try:
        with quietly():
            tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **options
            )
    except Exception as error:
        raise BadModelFolder(
            f"{folder} holds no usable tokenizer: {first_line(error)}",
            hint="put the checkpoint's tokenizer.json or tokenizer.model there, and its tokenizer_config.json",
        ) from error
    tokenizer.padding_side = "left"
    return tokenizer


def _fitting(folder: Path, tokenizer: PreTrainedTokenizerBase, config: Any) -> PreTrainedTokenizerBase:
    """Hold a tokenizer against the words that its model has.

    Raises:
        BadModelFolder: it knows none but marks, as one of a LLaMA's class does without its file, or more.
    """
    words = tokenizer.get_vocab()
    if set(words) <= set(tokenizer.all_special_tokens):
        raise BadModelFolder(
            f"{folder} holds no words of a tokenizer",
            hint="put the checkpoint's tokenizer.json or tokenizer.model there, and its tokenizer_config.json",
        )
    if max(words.values()) >= config.text_config.vocab_size:
        raise BadModelFolder(
            f"the tokenizer in {folder} has ids up to {max(words.values())}, but its model has "
            f"{config.text_config.vocab_size} words",
            hint="use the tokenizer files that came with the checkpoint",
        )
    return tokenizer


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that would hold it
        return False


def _outline(folder: Path, kind: Any, read: Callable[[], VideoLlavaConfig]) -> tuple[VideoLlavaConfig, Any]:
    """Read a config, and build its model without weights: what has to be there, and what it is called."""
    try:
        with quietly(), torch.device("meta"):
            config = read()
            return config, kind(config)
    except BadModelFolder:
        raise
    except Exception as error:
        said, hint = (error.message, error.hint) if isinstance(error, VidzipError) else (first_line(error), "")
        raise BadModelFolder(
            f"the config in {folder} makes no model: {said}", hint=hint or "fetch the checkpoint's config again"
        ) from error


def _check_weights(folder: Path, outline: Any, held: dict[str, Tensor]) -> None:
    """Account for every weight before one of them is read."""
    check_weights(folder, outline.state_dict(), held, tied=outline.all_tied_weights_keys)


def _load_weights(
    folder: Path,
    outline: Any,
    config: VideoLlavaConfig,
    placement: Placement,
    weights: dict[str, Tensor] | None = None,
) -> Any:
    """Load weights, those of the folder where none are given, and account for every one."""
    placement.check_modules(outline)
    held = weights.items() if weights is not None else stored_weights(folder)
    placement = placement.for_weights(weight for _, weight in held)
    source: dict[str, Any] = {"state_dict": weights} if weights is not None else {}
    try:
        with quietly():
            model, report = type(outline).from_pretrained(
                None if weights is not None else folder,
                config=config,
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
        hint = "fetch the checkpoint again, whole"
        if placement.device_map is not None and weights is not None:
            hint = "where they are to stay on the disk, convert the checkpoint first, with 'vidzip convert'"
        raise BadModelFolder(f"the weights in {folder} cannot be loaded: {first_line(error)}", hint=hint) from error
    refuse(
        folder,
        {
            "missing": report["missing_keys"],
            "unexpected": report["unexpected_keys"],
            "mis-shaped": [mis_shaped(*one) for one in report["mismatched_keys"]],
        },
    )
    return model


def is_at_hand(name: str, revision: str | None = None) -> bool:
    """Whether :func:`load` would find a model on this machine: built in, a folder, or in the hub's cache."""
    if name in BUILT_IN or os.path.isdir(name):
        return True
    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=[*_HUB_FILES]))
    except Exception:
        return False
    return any(folder.glob(_SAFETENSORS)) or any(folder.glob(_PICKLES))


def _download(name: str, revision: str | None) -> Path:
    """Fetch a model from the hub, or find it in the hub's cache on this machine."""
    known = f"built in: {', '.join(BUILT_IN)}; or give a folder, or a hub id such as LanguageBind/Video-LLaVA-7B-hf"
    if not _HUB_ID.fullmatch(name):
        raise UnknownModel(f"there is no model {name!r}", hint=known)
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*_HUB_FILES, _SAFETENSORS]))
        if not any(folder.glob(_SAFETENSORS)):
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*_HUB_FILES, _PICKLES]))
    except Exception as error:
        raise UnknownModel(f"the hub gave no model {name!r}: {first_line(error)}", hint=known) from error
    return folder
