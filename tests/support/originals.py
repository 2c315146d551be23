"""Small checkpoints in the original Video-LLaVA's layout: pickled shards, weight names, config and tokenizer."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from sentencepiece import sentencepiece_model_pb2
from transformers import CLIPVisionConfig, LlamaConfig

from vidzip.models.video_llava_original import TemporalVideoLlava, TemporalVideoLlavaConfig

TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "add_time_attn": True,
    "num_frames": 4,
}
"""17 tokens a frame, clips of 4."""

TOWER_NAME = "LanguageBind/LanguageBind_Video_small"
VOCABULARY = 420

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the human's questions."
)

_TEXT = """A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful,
detailed, and polite answers to the human's questions. USER: ASSISTANT: What is shown in the video? Where is the red
circle? How many people are there, and which way do they move? It is the second one. Why? Yes. No."""

_NAMES = (
    (r"^model\.(video|image)_tower\.", r"model.\1_tower.\1_tower."),
    (r"^model\.multi_modal_projector\.linear_1\.", "model.mm_projector.0."),
    (r"^model\.multi_modal_projector\.linear_2\.", "model.mm_projector.2."),
    (r"^model\.language_model\.", "model."),
)


def original_config() -> dict:
    """A config as its code writes it: a flat LLaMA config with keys of LLaVA and Video-LLaVA."""
    return {
        "_name_or_path": "lmsys/vicuna-small",
        "architectures": ["LlavaLlamaForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "freeze_mm_mlp_adapter": False,
        "hidden_act": "silu",
        "hidden_size": 48,
        "image_aspect_ratio": "pad",
        "initializer_range": 0.02,
        "intermediate_size": 96,
        "max_position_embeddings": 4096,
        "mm_hidden_size": TOWER["hidden_size"],
        "mm_image_tower": "LanguageBind/LanguageBind_Image",
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_video_tower": TOWER_NAME,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "model_type": "llava",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 4,
        "pad_token_id": 0,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "tokenizer_model_max_length": 3072,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.31.0",
        "use_cache": True,
        "use_mm_proj": True,
        "vocab_size": VOCABULARY,
    }


def write_original(folder: Path, *, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Write a checkpoint of random weights in two shards; returns the weights by the original's names."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = original_weights(dtype)
    write_shards(folder, weights)
    (folder / "config.json").write_text(json.dumps(original_config(), indent=2))
    tower = folder / TOWER_NAME.rpartition("/")[2]
    tower.mkdir()
    (tower / "config.json").write_text(
        json.dumps(
            {"model_type": "LanguageBindVideo", "vision_config": {**TOWER, "lora_r": 16, "force_patch_dropout": 0.5}}
        )
    )
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "add_bos_token": True,
                "add_eos_token": False,
                "bos_token": "<s>",
                "eos_token": "</s>",
                "unk_token": "<unk>",
                "legacy": False,
                "model_max_length": 2048,
                "padding_side": "right",
                "tokenizer_class": "LlamaTokenizer",
            }
        )
    )
    return weights


def original_weights(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Random weights, the same every time, by the original's names."""
    return {name: weight.to(dtype) for name, weight in _random_weights().items()}


@cache
def _random_weights() -> dict[str, torch.Tensor]:
    text = {key: value for key, value in original_config().items() if key in _LLAMA}
    config = TemporalVideoLlavaConfig(
        vision_config=CLIPVisionConfig(**TOWER), text_config=LlamaConfig(**text, initializer_range=0.3)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TemporalVideoLlava(config)
        for name, weight in model.named_parameters():
            if "tower" in name:
                torch.nn.init.normal_(weight, std=0.3)
    return {original_name_of(name): weight.detach() for name, weight in model.state_dict().items()}


_LLAMA = (
    "hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "num_key_value_heads",
    "rms_norm_eps", "vocab_size", "max_position_embeddings",
)  # fmt: skip


def original_name_of(name: str) -> str:
    for pattern, replacement in _NAMES:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return renamed
    return name


def write_shards(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write weights as its code does: two pickles and an index, with two computed values among the weights."""
    names = list(weights)
    half = len(names) // 2
    index = {}
    for number, part in enumerate((names[:half], names[half:]), start=1):
        shard = f"pytorch_model-{number:05}-of-00002.bin"
        held = {name: weights[name].clone() for name in part}
        if number == 1:
            held["model.video_tower.video_tower.embeddings.position_ids"] = torch.arange(17)[None]
            held["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(6)
        torch.save(held, folder / shard)
        index |= dict.fromkeys(held, shard)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


@cache
def sentencepiece_model() -> bytes:
    """A tokenizer like Llama's: BPE with byte fallback."""
    held = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_TEXT.split("\n") * 4),
        model_writer=held,
        model_type="bpe",
        vocab_size=VOCABULARY,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        hard_vocab_limit=True,
        pad_id=-1,
        minloglevel=2,
    )
    return held.getvalue()


def settings_of(file: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Return a function that changes a settings file of a folder."""

    def apply(folder: Path) -> None:
        settings = json.loads((folder / file).read_text())
        change(settings)
        (folder / file).write_text(json.dumps(settings))

    return apply


def weights_of(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """Return a function that changes a folder's weights, in two shards as before."""

    def apply(folder: Path) -> None:
        weights = original_weights()
        change(weights)
        write_shards(folder, weights)

    return apply


def published_prompt(tokenizer: sentencepiece.SentencePieceProcessor, question: str) -> tuple[list[int], list[int]]:
    """The ids before and after eight frames, as the published code builds them (``tokenizer_image_token``)."""
    frame = -200
    text = f"{SYSTEM} USER: {'<image>' * 8}\n{question} ASSISTANT:"
    chunks = [[1, *tokenizer.encode(chunk)] for chunk in text.split("<image>")]
    ids = chunks[0][:1]
    for number, chunk in enumerate(chunks):
        ids += ([frame] if number else []) + chunk[1:]
    first, last = ids.index(frame), len(ids) - 1 - ids[::-1].index(frame)
    assert ids[first : last + 1] == [frame] * 8
    return ids[:first], ids[last + 1 :]


@cache
def processor(*, dummy_prefix: bool = True) -> sentencepiece.SentencePieceProcessor:
    """SentencePiece with the tokenizer's model; ``dummy_prefix`` adds a space before a text."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(sentencepiece_model())
    proto.normalizer_spec.add_dummy_prefix = dummy_prefix
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
