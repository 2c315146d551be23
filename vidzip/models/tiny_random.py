"""``tiny-random``: a small Video-LLaVA with random weights, built without a download, to test the whole path.

Classes, picture size and token counts are Video-LLaVA's. Its answers mean nothing.
"""

from __future__ import annotations

import string

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, VideoLlavaConfig
from transformers import VideoLlavaForConditionalGeneration as Model

from vidzip.models.small import PREPROCESSOR, SPECIAL_TOKENS, build_config, finish_tokenizer
from vidzip.models.video_llava import VideoLlava

SEED = 20260101


def build() -> VideoLlava:
    """Build the model, with the same weights every time."""
    tokenizer = build_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = Model(_config(tokenizer))
    # Single bytes may be invalid UTF-8: they are never the most likely token.
    with torch.no_grad():
        model.lm_head.weight[[i for token, i in tokenizer.get_vocab().items() if token.startswith("<0x")]] = 0
    return VideoLlava(network=model, tokenizer=tokenizer, preprocessor=PREPROCESSOR)


def _config(tokenizer: PreTrainedTokenizerFast) -> VideoLlavaConfig:
    return build_config(
        tokenizer,
        vision={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 4,
            "initializer_factor": 4.0,  # large, so that attention is peaked as in a trained tower
        },
        text={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "initializer_range": 0.2,  # large, so that answers depend on the video and the question
        },
    )


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build a tokenizer like Llama's with a vocabulary of single characters, and bytes for all others."""
    alphabet = ["▁", "\n", *string.ascii_letters, *string.digits, *string.punctuation]
    vocabulary = [*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256)), *alphabet]
    backend = Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(vocabulary)},
            merges=[],
            unk_token=SPECIAL_TOKENS[0],
            byte_fallback=True,
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return finish_tokenizer(backend)
