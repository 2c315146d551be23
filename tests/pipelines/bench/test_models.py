from __future__ import annotations

import pytest
import torch
from narrow import make_narrow

from benchmarks.full_size import frame_flop, prompt_flop
from pipelines.bench.models import MINI_LANGUAGE_MODEL, MINI_TOWER, build_models
from pipelines.bench.settings import SIZES, TOWER, VIDZIP, BenchSettings
from vidzip.models.full_size import build_config
from vidzip.models.timing import Stopwatch

CPU = torch.device("cpu")


def settings(size, dtypes=("float32",), **changes):
    return BenchSettings(size=size, variants=(VIDZIP,), dtypes=dtypes, frames=(2,), budgets=(20,), **changes)


@pytest.fixture
def narrow(monkeypatch):
    """Everything is made in a moment: what is wide, narrow, and what is deep, flat."""
    make_narrow(monkeypatch.setattr)
    for part in ("MINI_TOWER", "MINI_LANGUAGE_MODEL"):
        monkeypatch.setattr(f"pipelines.bench.models.{part}", {"num_hidden_layers": 3})


@pytest.mark.parametrize("size", SIZES)
def test_every_size_gives_an_answer_or_has_no_language_model(size, narrow):
    (bench_model,) = build_models(settings(size), CPU).values()
    tokens = torch.randn(4, bench_model.model.config.vision_config.hidden_size)
    stopwatch = Stopwatch(CPU)
    if size == "l14":
        assert bench_model.question is None
        assert bench_model.model.config.vision_config.num_hidden_layers == 24
    else:
        assert not bench_model.model.language.unknown_words(bench_model.question)
        assert len(bench_model.answer(tokens, stopwatch)) == (1 if size == "tiny" else 2)  # a word, and then its end
        assert min(stopwatch.seconds.values()) > 0


@pytest.mark.parametrize("size", SIZES)
def test_the_tower_has_the_same_weights_in_every_precision(size, narrow):
    made = build_models(settings(size, ("bfloat16", "float32")), CPU)
    assert list(made) == ["bfloat16", "float32"]
    half, whole = (dict(made[dtype].model.tower.named_parameters()) for dtype in made)
    for name, weight in half.items():
        assert weight.dtype == torch.bfloat16
        assert torch.equal(weight, whole[name].bfloat16())
    assert made["bfloat16"].model.dtype == torch.bfloat16
    rotary = made["bfloat16"].model.network.get_buffer("model.language_model.rotary_emb.inv_freq")
    assert rotary.dtype == torch.float32


def test_the_tower_alone_is_vit_l_14():
    config, _ = build_config("port")
    vision = config.vision_config
    assert (vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads) == (1024, 24, 16)


def test_mini_has_the_proportions_of_7b():
    config, _ = build_config("port")
    at_7b = [frame_flop(config) / (prompt_flop(config, tokens) / tokens) for tokens in (180, 2100)]
    for part, numbers in ((config.vision_config, MINI_TOWER), (config.text_config, MINI_LANGUAGE_MODEL)):
        for name, number in numbers.items():
            assert hasattr(part, name)
            setattr(part, name, number)
    text, vision = config.text_config, config.vision_config
    assert text.hidden_size == text.num_attention_heads * text.head_dim
    assert vision.hidden_size == vision.num_attention_heads * 64
    small = [frame_flop(config) / (prompt_flop(config, tokens) / tokens) for tokens in (180, 2100)]
    assert small == pytest.approx(at_7b, rel=0.06)


def test_batch_and_compile_options_are_passed_on(narrow):
    (usual,) = build_models(settings("tiny"), CPU).values()
    (other,) = build_models(settings("tiny", batch=3, compile_tower=True), CPU).values()
    assert usual.model.batch_frames > 3
    assert (other.model.batch_frames, other.model.compile_tower, usual.model.compile_tower) == (3, True, False)


def test_answers_of_random_weights_do_not_end_early(narrow):
    (bench_model,) = build_models(
        BenchSettings(size="mini", variants=(TOWER,), dtypes=("float32",), frames=(1,), budgets=(1,)), CPU
    ).values()
    head = bench_model.model.network.lm_head.weight
    assert not head[bench_model.model.tokenizer.eos_token_id].any()
    assert head.any()


def test_random_weights_are_the_same_every_time_and_leave_the_generator_alone(narrow):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, again = (build_models(settings("mini"), CPU)["float32"].model.network.state_dict() for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
