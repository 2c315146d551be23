from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from vidzip import decode
from vidzip.encoders import Preprocessor
from vidzip.errors import BadModelFolder

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
    assert square(4).resize_and_crop(picture)[0, 0].tolist() == [row] * 4


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
    ours = Preprocessor.from_config(CLIP).resize_and_crop(picture[None])[0].permute(1, 2, 0).numpy().astype(int)
    difference = np.abs(ours - pillow(picture, 224))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_agrees_with_pillow_on_a_real_picture(videos):
    picture = decode(videos / "cockatoo.mp4", [3.0]).pixels[0]
    ours = Preprocessor.from_config(CLIP).resize_and_crop(picture[None])[0].permute(1, 2, 0).numpy().astype(int)
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
    padded = preprocessor.resize_and_crop(torch.full((1, 3, 2, 2), 7, dtype=torch.uint8))
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
        (None, "holds none of video_preprocessor_config.json, preprocessor_config.json"),
        ("{", "not usable"),
        ("[]", "not usable"),
        (json.dumps({key: value for key, value in CLIP.items() if key != "size"}), "not usable: KeyError"),
        (json.dumps({**CLIP, "image_mean": [0.5]}), "not usable: ValueError"),
        (json.dumps({**CLIP, "resample": 1}), r"2 \(bilinear\) and 3 \(bicubic\) are known"),
        (json.dumps({**CLIP, "size": {"shortest_edge": "big"}}), "not usable: ValueError"),
    ],
)
def test_settings_that_cannot_be_used_are_said(tmp_path, content, says):
    if content is not None:
        (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(BadModelFolder, match=says):
        Preprocessor.from_folder(tmp_path)
