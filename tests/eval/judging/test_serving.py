"""A self-hosted judge: a real ``transformers serve`` with a tiny random model, in its own process."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec

import pytest
from judge_server import answered

from eval.judging import Judge, judge_answers, open_replies, read_replies, replay

NEEDED = ("fastapi", "uvicorn", "openai")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(find_spec(name) is None for name in NEEDED), reason=f"transformers serve needs {', '.join(NEEDED)}"
    ),
]

TEMPLATE = "{% for message in messages %}<{{ message.role }}> {{ message.content }}\n{% endfor %}<assistant> "


def write_model(folder) -> None:
    """Write a Llama of two layers with random weights, a tokenizer of bytes and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {char: number for number, char in enumerate(["<end>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        eos_token_id=0,
        bos_token_id=0,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The folder of a model, and the URL of the server that serves it."""
    folder = tmp_path_factory.mktemp("served") / "model"
    write_model(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder.parent / "log"
    code = "from transformers.cli.transformers import app; app()"
    command = [sys.executable, "-c", code, "serve", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        )
    try:
        deadline = time.monotonic() + 120
        while not is_up(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"transformers serve did not begin:\n{log.read_text()[-3000:]}")
            time.sleep(0.2)
        yield str(folder), f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - of this test
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def test_a_model_that_transformers_serves_judges(served, tmp_path):
    folder, url = served
    judge = Judge(model=folder, base_url=url, max_tokens=24)
    questions = [answered(1), answered(2, prediction='zwölf "dogs"\n\x00')]
    path = str(tmp_path / "judge.jsonl")
    with open_replies(path) as replies:
        found = asyncio.run(judge_answers(questions, judge, replies, timeout_seconds=100))
    for one in questions:
        judgement = found[one.question_id]
        kept = read_replies(path).find(judge.fingerprint, one.question, one.answer, one.prediction)
        assert judgement.verdict is None, "random weights give no verdict"
        assert judgement.reason.startswith("the reply ")
        assert len(kept) == 3
        assert len({reply.text for reply in kept}) == 1, "temperature 0 gives the same reply each time"
        assert judgement.reply == kept[-1].text != ""
        assert {reply.finish for reply in kept} <= {"length", "stop"}
        assert {reply.model for reply in kept} == {f"{folder}@main"}
    assert replay(questions, None, read_replies(path)) == found


def test_a_model_that_is_not_served_is_refused(served, tmp_path):
    from eval.judging import JudgeError

    _, url = served
    with (
        open_replies(str(tmp_path / "judge.jsonl")) as replies,
        pytest.raises(JudgeError, match="HTTP 400"),
    ):
        asyncio.run(judge_answers([answered(1)], Judge(model="other", base_url=url), replies))
