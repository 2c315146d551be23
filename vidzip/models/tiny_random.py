"""Video-LLaVA in small, with random weights: the real classes and token counts, built in code, no download.

It shows that the path works. Its words mean nothing.
"""

from __future__ import annotations

import string

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CLIPVisionConfig, LlamaConfig, PreTrainedTokenizerFast, VideoLlavaConfig
from transformers import VideoLlavaForConditionalGeneration as Model

from vidzip.encoders import Preprocessor

SEED = 20260101
IMAGE_SIZE = 224
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def build() -> tuple[Model, PreTrainedTokenizerFast, Preprocessor]:
    """Build the model, its tokenizer and its preprocessing; the same weights every time."""
    tokenizer = build_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = Model(_config(tokenizer))
    # It shall spell its nonsense in letters: no byte, alone an invalid text, is ever the most likely token.
    with torch.no_grad():
        model.lm_head.weight[[i for token, i in tokenizer.get_vocab().items() if token.startswith("<0x")]] = 0
    preprocessor = Preprocessor(
        shortest_edge=IMAGE_SIZE, crop_height=IMAGE_SIZE, crop_width=IMAGE_SIZE, mean=CLIP_MEAN, std=CLIP_STD
    )
    return model, tokenizer, preprocessor


def _config(tokenizer: PreTrainedTokenizerFast) -> VideoLlavaConfig:
    vocabulary = tokenizer.get_vocab()
    vision = CLIPVisionConfig(
        image_size=IMAGE_SIZE,
        patch_size=14,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        initializer_factor=4.0,  # so large that attention is far from flat, as in a trained tower
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=4096,
        initializer_range=0.2,  # so large that an answer depends on the video and the question
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return VideoLlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=vocabulary["<image>"],
        video_token_index=vocabulary["<video>"],
    )


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build a tokenizer that works as Llama's does, with single letters for a vocabulary.

    It marks where the text starts, and spells in bytes what its alphabet lacks.
    """
    alphabet = ["▁", "\n", *string.ascii_letters, *string.digits, *string.punctuation]
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *alphabet]
    backend = Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(vocabulary)},
            merges=[],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(token, special=True) for token in ("<image>", "<video>", "<pad>")])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", vocabulary.index("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
