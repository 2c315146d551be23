"""Config, preprocessing and tokenizers of small Video-LLaVAs: picture size, patches and markers are the real model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPVisionConfig, LlamaConfig, PreTrainedTokenizerFast, VideoLlavaConfig

from vidzip.encoders import Preprocessor

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")
"""The first tokens of every vocabulary."""

_MARKERS = ("<image>", "<video>", "<pad>")
_SIDE = 224

PREPROCESSOR = Preprocessor(
    shortest_edge=_SIDE,
    crop_height=_SIDE,
    crop_width=_SIDE,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
"""CLIP's preprocessing."""


def finish_tokenizer(backend: Tokenizer) -> PreTrainedTokenizerFast:
    """Add markers and the start token to a tokenizer whose vocabulary begins with :data:`SPECIAL_TOKENS`."""
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _MARKERS])
    unknown, start, end = SPECIAL_TOKENS
    backend.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A $B", special_tokens=[(start, SPECIAL_TOKENS.index(start))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=unknown,
        bos_token=start,
        eos_token=end,
        pad_token="<pad>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Build a case-insensitive tokenizer of whole words; the prompt's own words are added."""
    prompt = ["user", "assistant", ":", "?", ","]
    vocabulary = [*SPECIAL_TOKENS, *dict.fromkeys([*prompt, *words])]
    backend = Tokenizer(
        models.WordLevel(vocab={token: i for i, token in enumerate(vocabulary)}, unk_token=SPECIAL_TOKENS[0])
    )
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return finish_tokenizer(backend)


def build_config(
    tokenizer: PreTrainedTokenizerFast, *, vision: Mapping[str, Any], text: Mapping[str, Any]
) -> VideoLlavaConfig:
    """Build a config around a tokenizer.

    Args:
        tokenizer: the model's tokenizer.
        vision: settings of the tower.
        text: settings of the language model.
    """
    vocabulary = tokenizer.get_vocab()
    return VideoLlavaConfig(
        vision_config=CLIPVisionConfig(image_size=_SIDE, patch_size=14, num_attention_heads=4, **vision),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            num_attention_heads=4,
            max_position_embeddings=4096,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **text,
        ),
        image_token_index=vocabulary["<image>"],
        video_token_index=vocabulary["<video>"],
    )
