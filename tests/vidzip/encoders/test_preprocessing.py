from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from vidzip import decode
from vidzip.encoders import LanguageBindPreprocessor, Preprocessor, read_preprocessor
from vidzip.errors import BadArgument, BadModelFolder, FrameTooLarge
from vidzip.video.resizing import Shape

CLIP = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
}


def square(side, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)) -> Preprocessor:
    return Preprocessor(shortest_edge=side, crop_height=side, crop_width=side, mean=mean, std=std)


def test_bicubic_worked_by_hand():
    # Doubling (0, 100): output centres lie at 0.25, 0.75, 1.25, 1.75 of pixels centred on 0.5 and 1.5. Keys' cubic
    # with a = -1/2 weighs a distance of 0.25 with 0.8671875, 0.75 with 0.2265625, 1.25 with -0.0703125; weights that
    # fall outside are dropped and the rest scaled to sum to 1.
    near, middle, far = 0.8671875, 0.2265625, -0.0703125
    levels = [100 * far / (near + far), 100 * middle / (near + middle)]
    row = [max(0, round(levels[0])), round(levels[1]), round(100 - levels[1]), 100 - round(levels[0])]
    assert row == [0, 21, 79, 109]
    picture = torch.tensor([[0, 100], [0, 100]], dtype=torch.uint8).expand(1, 3, 2, 2)
    assert square(4).shape.apply(picture)[0, 0].tolist() == [row] * 4


def test_values_worked_by_hand():
    picture = torch.tensor([0, 51, 255], dtype=torch.uint8)[None, :, None, None].expand(1, 3, 2, 2)
    prepared = square(2, mean=(0.5, 0.2, 0.0), std=(0.5, 0.1, 2.0))(picture)
    assert prepared[0, :, 0, 0].tolist() == pytest.approx([-1.0, 0.0, 0.5])
    assert prepared.dtype is torch.float32
    assert square(2)(picture, dtype=torch.bfloat16).dtype is torch.bfloat16


def pillow(picture: torch.Tensor, short: int) -> np.ndarray:
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    scale = short / min(image.size)
    width, height = (int(short * side / min(image.size)) for side in image.size)
    assert scale > 0
    resized = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    top, left = (height - short) // 2, (width - short) // 2
    return resized[top : top + short, left : left + short]


@pytest.mark.parametrize("size", [(720, 1280), (180, 320), (481, 633), (225, 224), (224, 224), (97, 64), (1, 1)])
def test_agrees_with_pillow_on_noise(size):
    picture = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ours = Preprocessor.from_config(CLIP).shape.apply(picture[None])[0].permute(1, 2, 0).numpy().astype(int)
    difference = np.abs(ours - pillow(picture, 224))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_agrees_with_pillow_on_a_real_picture(videos):
    picture = decode(videos / "cockatoo.mp4", [3.0]).pixels[0]
    ours = Preprocessor.from_config(CLIP).shape.apply(picture[None])[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(ours - pillow(picture, 224)).max() <= 1


@pytest.mark.parametrize("size", [(720, 1280), (481, 633), (180, 320), (224, 300)])
def test_agrees_with_transformers_own_processor(size):
    # Its Pillow form, which needs no torchvision. A level apart, where rounding differs, is 1 / 255 / 0.26.
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    theirs = CLIPImageProcessorPil(size=CLIP["size"], crop_size=CLIP["crop_size"])(pixels, return_tensors="pt")
    ours = Preprocessor.from_config(CLIP)(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    difference = (ours - theirs["pixel_values"]).abs()
    assert difference.max() <= 1 / 255 / 0.26
    assert (difference > 1e-5).float().mean() < 0.01


def test_a_crop_wider_than_the_picture_is_padded_with_black():
    preprocessor = Preprocessor(shortest_edge=2, crop_height=4, crop_width=5, mean=(0, 0, 0), std=(1, 1, 1))
    padded = preprocessor.shape.apply(torch.full((1, 3, 2, 2), 7, dtype=torch.uint8))
    assert padded[0, 0].tolist() == [[0] * 5, [0, 7, 7, 0, 0], [0, 7, 7, 0, 0], [0] * 5]


def test_every_frame_alone_gives_the_same():
    pictures = torch.randint(0, 256, (3, 3, 50, 90), dtype=torch.uint8)
    preprocessor = square(28)
    assert preprocessor(pictures).equal(torch.cat([preprocessor(one[None]) for one in pictures]))


def test_settings_come_from_the_checkpoint(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(CLIP))
    preprocessor = Preprocessor.from_folder(tmp_path)
    assert preprocessor == Preprocessor.from_config(CLIP)
    assert (preprocessor.shortest_edge, preprocessor.mean[0], preprocessor.resample) == (224, 0.48145466, "bicubic")
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps({**CLIP, "resample": 2}))
    assert Preprocessor.from_folder(tmp_path).resample == "bilinear"


def test_settings_may_be_nested_in_the_processors(tmp_path):
    nested = {"image_processor": {**CLIP, "resample": 2}, "processor_class": "VideoLlavaProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert Preprocessor.from_folder(tmp_path).resample == "bilinear"
    (tmp_path / "processor_config.json").write_text(json.dumps({**nested, "video_processor": CLIP}))
    assert Preprocessor.from_folder(tmp_path) == Preprocessor.from_config(CLIP)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, r"video_preprocessor_config\.json, preprocessor_config\.json"),
        ("{", "preprocessor_config"),
        ("[]", "preprocessor_config"),
        (json.dumps({key: value for key, value in CLIP.items() if key != "size"}), "KeyError.*size"),
        (json.dumps({**CLIP, "image_mean": [0.5]}), "ValueError"),
        (json.dumps({**CLIP, "resample": 1}), r"resample is 1.* 2 \(bilinear\).* 3 \(bicubic\)"),
        (json.dumps({**CLIP, "size": {"shortest_edge": "big"}}), "ValueError.*big"),
    ],
)
def test_settings_that_cannot_be_used_are_said(tmp_path, content, says):
    if content is not None:
        (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(BadModelFolder, match=says):
        Preprocessor.from_folder(tmp_path)


def test_what_decoding_leaves_to_do_makes_the_whole():
    pictures = noise(2, 50, 90)
    preprocessor = square(28)
    assert preprocessor.prepare(preprocessor.shape.apply(pictures)).equal(preprocessor(pictures))
    original = languagebind(28)
    assert original.shape == Shape()
    assert original.prepare(pictures, dtype=torch.float64).equal(original(pictures, dtype=torch.float64))


def noise(frames, height, width, seed=0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, 3, height, width), dtype=torch.uint8, generator=rng)


def languagebind(side) -> LanguageBindPreprocessor:
    """Its output is in levels: the mean is 0, the deviation undoes the scaling."""
    return LanguageBindPreprocessor(
        shortest_edge=side, crop_height=side, crop_width=side, mean=(0, 0, 0), std=(1 / 255, 1 / 255, 1 / 255)
    )


def row(levels, height) -> torch.Tensor:
    """A picture whose every row is the same."""
    return torch.tensor(levels, dtype=torch.uint8).expand(1, 3, height, len(levels))


@pytest.mark.parametrize(
    ("levels", "side", "expected"),
    [
        ([0, 100], 4, [0, 25, 75, 100]),  # enlarged: sampled at -1/4, 1/4, 3/4, 5/4, inside the picture
        ([0, 1], 4, [0, 0.25, 0.75, 1]),  # levels are not rounded
        ([0, 10, 20, 100], 2, [5, 60]),  # halved: sampled at 1/2 and 5/2
        ([90, 10, 20, 90, 90, 30, 50, 90], 2, [15, 40]),  # quartered: at 3/2 and 11/2, without antialiasing
        ([1, 2, 3], 3, [1, 2, 3]),
    ],
)
def test_languagebind_resizing_worked_by_hand(levels, side, expected):
    prepared = languagebind(side)(row(levels, len(levels)))
    assert prepared.shape == (1, 3, side, side)
    assert prepared[0, 1, 0].tolist() == pytest.approx(expected, abs=1e-4)
    assert prepared[0, 1, -1].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("width", "first"),
    [(4, 0), (5, 0), (6, 1), (7, 2), (8, 2), (9, 2), (10, 3), (11, 4)],  # halves to the even: 1/2, 3/2, 5/2, 7/2
)
def test_languagebind_crop_worked_by_hand(width, first):
    wide = row(list(range(width)), 4)
    wanted = pytest.approx(list(range(first, first + 4)), abs=1e-4)
    assert languagebind(4)(wide)[0, 0, 0].tolist() == wanted
    assert languagebind(4)(wide.transpose(2, 3))[0, 0, :, 0].tolist() == wanted


def test_languagebind_normalises_as_clip():
    picture = torch.tensor([0, 51, 255], dtype=torch.uint8)[None, :, None, None].expand(1, 3, 9, 9)
    prepared = LanguageBindPreprocessor()(picture)
    assert prepared.dtype is torch.float32
    wanted = [(0 - 0.48145466) / 0.26862954, (0.2 - 0.4578275) / 0.26130258, (1 - 0.40821073) / 0.27577711]
    assert prepared[0, :, 100, 100].tolist() == pytest.approx(wanted, abs=1e-6)
    assert LanguageBindPreprocessor()(picture, dtype=torch.bfloat16).dtype is torch.bfloat16


def in_the_published_order(picture: torch.Tensor) -> np.ndarray:
    """Scale, normalise, resize, crop one picture, (3, H, W), in float64: no mirroring, nothing antialiased."""
    levels = picture.numpy().astype(np.float64)
    mean, std = (np.array(CLIP[name])[:, None, None] for name in ("image_mean", "image_std"))
    values = (levels / 255 - mean) / std
    height, width = values.shape[1:]
    short = min(height, width)
    sides = [224 if side == short else math.floor(side / short * 224) for side in (height, width)]
    for axis, (side, new) in enumerate(zip((height, width), sides, strict=True), start=1):
        at = np.maximum((np.arange(new) + 0.5) * side / new - 0.5, 0)
        before = np.floor(at).astype(int)
        after = np.minimum(before + 1, side - 1)
        weight = (at - before)[:, None] if axis == 1 else at - before
        values = values.take(before, axis) * (1 - weight) + values.take(after, axis) * weight
    top, left = (int(np.round((side - 224) / 2)) for side in sides)
    return values[:, top : top + 224, left : left + 224]


@pytest.mark.parametrize(
    "size",
    [(720, 1280), (1280, 720), (481, 633), (633, 481), (225, 224), (227, 224), (224, 224), (64, 97), (3, 2), (1, 1)],
)
def test_languagebind_agrees_with_the_published_order(size):
    pictures = noise(2, *size)
    prepared = LanguageBindPreprocessor()(pictures)
    assert prepared.shape == (2, 3, 224, 224)
    for ours, picture in zip(prepared, pictures, strict=True):
        # Sampling positions are float32 in torch: up to 1e-4 of a pixel off, between neighbours 4 apart.
        np.testing.assert_allclose(ours.numpy(), in_the_published_order(picture), rtol=0, atol=5e-4)


def test_languagebind_rounds_the_long_side_as_a_float():
    # A picture of the right size already: 230 / 224 * 224 falls a little short of 230, and the original makes it 229.
    assert math.floor(230 / 224 * 224) == 229
    picture = noise(1, 230, 224)
    ours = LanguageBindPreprocessor()(picture)[0].numpy()
    np.testing.assert_allclose(ours, in_the_published_order(picture[0]), rtol=0, atol=5e-4)


def test_languagebind_never_mirrors():
    picture = row([0] * 20 + [255] * 20, 40)
    for _ in range(20):
        left, right = languagebind(8)(picture)[0, 0, 0, [0, -1]].tolist()
        assert (left, right) == pytest.approx((0, 255), abs=1e-4)


def test_languagebind_prepares_every_frame_alone():
    pictures = noise(3, 50, 90)
    assert LanguageBindPreprocessor()(pictures).equal(
        torch.cat([LanguageBindPreprocessor()(one[None]) for one in pictures])
    )


def test_languagebind_refuses_what_has_no_crop():
    with pytest.raises(BadArgument, match="224x225"):
        LanguageBindPreprocessor(crop_height=225)
    with pytest.raises(BadArgument, match="0x224"):
        LanguageBindPreprocessor(crop_width=0)
    with pytest.raises(FrameTooLarge, match=r"3000x1 .*672000x224"):
        LanguageBindPreprocessor()(noise(1, 1, 3000))


def test_the_folder_says_which_kind_it_is(tmp_path):
    file = tmp_path / "preprocessor_config.json"
    for preprocessor in (
        Preprocessor.from_config(CLIP),
        LanguageBindPreprocessor(),
        LanguageBindPreprocessor(shortest_edge=112, crop_height=100, crop_width=90, mean=(0, 0.5, 1), std=(1, 2, 3)),
    ):
        file.write_text(json.dumps(preprocessor.to_config()))
        assert read_preprocessor(tmp_path) == preprocessor
        assert type(preprocessor).from_config(preprocessor.to_config()) == preprocessor


def test_one_kind_is_not_read_as_the_other(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(LanguageBindPreprocessor().to_config()))
    with pytest.raises(BadModelFolder, match="order"):
        Preprocessor.from_folder(tmp_path)
    with pytest.raises(KeyError, match="order"):
        LanguageBindPreprocessor.from_config(CLIP)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"order": "crop, resize, normalise"}, "order.*'crop, resize, normalise'"),
        ({"antialias": True}, "antialias is True"),
        ({"resample": 3}, "resample is 3"),
        ({"crop_size": 300}, "300x300"),
        ({"image_std": None}, "TypeError"),
    ],
)
def test_languagebind_settings_that_cannot_be_used_are_said(tmp_path, changes, says):
    settings = LanguageBindPreprocessor().to_config() | changes
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(BadModelFolder, match=says):
        read_preprocessor(tmp_path)
