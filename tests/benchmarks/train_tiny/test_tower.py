from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.train_tiny.initial_model import build_initial_model
from benchmarks.train_tiny.tower import FrameBatch, TowerHeads, crop_windows, features, normalize, tower_losses
from benchmarks.train_tiny.training_frames import PATCHES, label_frames, sample_render_spec
from eval.shapes.scene import COLOURS, SHAPES
from vidzip.encoders import observe


@pytest.fixture(scope="module")
def tower():
    model, _ = build_initial_model(["red"], seed=3)
    return model.get_submodule("model.video_tower").eval()


def batch_of(spec):
    labels = {key: torch.from_numpy(value) for key, value in vars(label_frames(spec)).items()}
    labels = {key: value.long() if value.dtype == torch.int8 else value for key, value in labels.items()}
    pixels = torch.randint(0, 256, (len(spec.frames), 3, 224, 224), dtype=torch.uint8)
    return FrameBatch(pixels=pixels, **labels)


def test_training_uses_the_layer_that_video_llava_reads(tower):
    pixels = normalize(torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8))
    with torch.no_grad():
        torch.testing.assert_close(features(tower, pixels), observe(tower, pixels, -2).tokens)


def test_a_window_of_the_whole_frame_is_the_frame(tower):
    batch = batch_of(sample_render_spec("train", 0, 0))
    windows, kept = crop_windows(batch, PATCHES, torch.Generator().manual_seed(0))
    assert torch.equal(windows.pixels, batch.pixels)
    assert torch.equal(windows.present, batch.present)
    with torch.no_grad():
        whole = features(tower, normalize(batch.pixels[:2]))
        torch.testing.assert_close(features(tower, normalize(windows.pixels[:2]), kept[:2]), whole)


def test_objects_are_present_in_a_window_if_their_centres_are():
    batch = batch_of(sample_render_spec("train", 0, 1))
    windows, kept = crop_windows(batch, 8, torch.Generator().manual_seed(1))
    for frame in range(len(batch.pixels)):
        rows, columns = kept[frame] // PATCHES, kept[frame] % PATCHES
        assert kept.shape[1] == 64
        top, left = 14 * int(rows.min()), 14 * int(columns.min())
        assert torch.equal(windows.pixels[frame], batch.pixels[frame][:, top : top + 112, left : left + 112])
        for name in range(batch.present.shape[1]):
            x, y = (batch.place[frame, name] * PATCHES).tolist()
            inside = columns.min() <= x <= columns.max() + 1 and rows.min() <= y <= rows.max() + 1
            if batch.present[frame, name] == 1 and inside:
                assert windows.present[frame, name] == 1
            else:
                assert windows.present[frame, name] <= 0


def test_labels_match_the_scene():
    spec = sample_render_spec("train", 0, 2)
    labels = label_frames(spec)
    scene = spec.clip.scene
    for place, frame in enumerate(spec.frames):
        seen = {thing.name for thing in scene.visible(frame)}
        named = {
            f"{colour} {shape}"
            for i, colour in enumerate(COLOURS)
            for j, shape in enumerate(SHAPES)
            if labels.present[place, i * len(SHAPES) + j] == 1
        }
        assert named == seen
        for thing in scene.visible(frame):
            x, y = thing.centre(frame)
            if thing.shape in {"circle", "square"} and scene.owners(frame, 64)[int(y * 64), int(x * 64)] >= 0:
                patch = int(y * PATCHES) * PATCHES + int(x * PATCHES)
                assert labels.colour[place, patch] >= 0
    assert labels.outline.shape == (len(spec.frames), PATCHES**2, 16)


def test_perfect_predictions_have_no_loss():
    spec = sample_render_spec("train", 0, 3)
    batch = batch_of(spec)
    heads = TowerHeads(8)
    hidden = torch.zeros(len(batch.pixels), 1 + PATCHES**2, 8)
    values = tower_losses(heads, hidden, batch)
    assert values["loss"] > 0
    c, s = len(COLOURS), len(SHAPES)

    class Oracle:
        cls_norm = norm = staticmethod(lambda hidden: hidden)

        @staticmethod
        def dense(hidden):
            one_hot = torch.nn.functional.one_hot
            colour = one_hot(batch.colour % (c + 1), c + 1) * 50.0
            shape = one_hot(batch.shape % (s + 1), s + 1) * 50.0
            outline = (batch.outline.float() - 0.5) * 100
            return torch.cat([colour, shape, (batch.centre - 0.5) * 4, outline], dim=-1)

        @staticmethod
        def summary(hidden):
            seen = batch.present == 1
            grid = seen.unflatten(-1, (c, s)).long()
            counts = torch.nn.functional.one_hot(torch.cat([grid.sum(2), grid.sum(1)], -1).clamp(max=5), 6) * 50.0
            return torch.cat([(seen.float() - 0.5) * 100, ((batch.place - 0.5) * 4).flatten(1), counts.flatten(1)], -1)

    values = tower_losses(Oracle(), hidden, batch)
    assert float(values["loss"]) == pytest.approx(0, abs=1e-5)
    assert float(values["frames named right"]) == 1
    assert float(values["patches named right"]) == pytest.approx(1)


def test_labels_are_cropped_with_their_window():
    batch = batch_of(sample_render_spec("train", 0, 4))
    windows, kept = crop_windows(batch, 6, torch.Generator().manual_seed(2))
    rows = np.arange(len(kept))[:, None]
    for name in ("colour", "shape", "centre", "outline"):
        assert np.array_equal(getattr(windows, name).numpy(), getattr(batch, name).numpy()[rows, kept.numpy()])
