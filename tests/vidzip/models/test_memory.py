from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from pipelines.bench.memory import peak_bytes
from vidzip import Frames, observe
from vidzip.encoders import LanguageBindTower
from vidzip.errors import OutOfMemory
from vidzip.models.memory import activation_bytes, batch_frames, memory_errors, tower_memory_bytes

CPU = torch.device("cpu")


def tower(kind, side, width, act, dtype):
    config = CLIPVisionConfig(
        image_size=side,
        patch_size=14,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=3,
        num_attention_heads=width // 64,
        hidden_act=act,
        add_time_attn=True,
        num_frames=8,
    )
    return kind(config).to(dtype).eval()


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
@pytest.mark.parametrize(
    ("side", "width", "dtype"),
    [(224, 1024, torch.float32), (336, 256, torch.float32), (224, 128, torch.float32), (224, 128, torch.float16)],
)
@pytest.mark.parametrize("kind", [CLIPVisionModel, LanguageBindTower])
def test_oracle_a_frame_takes_what_pytorch_allocates(kind, side, width, act, dtype):
    frames = 8
    model = tower(kind, side, width, act, dtype)
    pixels = torch.randn(frames, 3, side, side).to(dtype)
    taken = (peak_bytes(lambda: observe(model, pixels), CPU)[1] + pixels.nbytes) / frames
    bound = activation_bytes(model.config, (side // 14) ** 2 + 1, dtype)
    assert bound / 1.5 < taken <= bound
    if width == 1024:
        assert bound / 1.15 < taken


def test_an_unknown_activation_counts_as_the_most(small):
    vision = small.config.vision_config
    other = CLIPVisionConfig(**{**vision.to_dict(), "hidden_act": "gelu_new"})
    assert activation_bytes(other, 257, torch.float32) > activation_bytes(vision, 257, torch.float32)


def test_chunks_of_many_frames_stay_below_what_the_tower_may_take(small):
    model = replace(small, max_batch_frames=512)
    assert 1 < model.batch_frames < 512
    chunks = []
    hook = model.tower.register_forward_pre_hook(lambda _, args: chunks.append(args[0].shape[0]))
    try:
        pixels = torch.zeros(512, 3, 8, 8, dtype=torch.uint8)
        seen = model.encode(Frames(pixels=pixels, timestamps_seconds=tuple(range(512))))
    finally:
        hook.remove()
    assert seen.num_frames == sum(chunks) == 512
    assert max(chunks) == model.batch_frames
    prepared = torch.randn(max(chunks), 3, 224, 224)
    taken = peak_bytes(lambda: observe(model.tower, prepared, model.family.feature_layer), CPU)[1] + prepared.nbytes
    assert model.tower_memory_bytes / 2 < taken <= model.tower_memory_bytes


@pytest.mark.parametrize(
    ("free", "expected"),
    [(80 * 2**30, 2 * 2**30), (16 * 2**30, 2 * 2**30), (8 * 2**30, 2**30), (2**20, 2**17), (0, 0)],
)
def test_on_cuda_a_tower_takes_an_eighth_of_what_is_free_within_a_bound(monkeypatch, small, free, expected):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 141 * 2**30))
    device = torch.device("cuda", 1)
    assert tower_memory_bytes(device) == expected
    model = replace(small, tower_memory_bytes=tower_memory_bytes(device), max_batch_frames=batch_frames(device))
    assert model.batch_frames == max(1, min(32, expected // small.activation_bytes_per_frame))


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_elsewhere_a_tower_takes_a_fixed_part(device):
    assert tower_memory_bytes(torch.device(device)) == 512 * 2**20
    assert batch_frames(torch.device(device)) == {"cpu": 8, "mps": 16}[device]


def test_what_does_not_fit_is_said():
    with pytest.raises(OutOfMemory, match="packing 3 frames"), memory_errors("packing 3 frames"):
        raise torch.OutOfMemoryError("CUDA out of memory")
