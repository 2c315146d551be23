from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace
from clips import HEIGHT, WIDTH, number_of, numbered_frame, write_numbered
from PIL import Image

from vidzip import decode, probe, sample
from vidzip.video.resizing import resize

LOSSLESS = {"libx264": {"qp": "0"}, "libvpx-vp9": {"lossless": "1"}}


def write_planes(
    path, planes, pixel_format, *, codec="libx264", matrix=None, levels=None, aspect=None, rotation=0, num_frames=1
):
    """Write a still of these planes, (h, w) each, without loss; tags that are None are not written."""
    height, width = planes[0].shape
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=LOSSLESS.get(codec, {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        context = stream.codec_context
        if aspect:
            context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if matrix is not None:
            context.colorspace = matrix
        if levels is not None:
            context.color_range = levels
        for number in range(num_frames):
            frame = av.VideoFrame(width, height, pixel_format)
            for plane, values in zip(frame.planes, planes, strict=True):
                padded = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
                padded[:, : values.shape[1]] = values
                plane.update(padded.tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            frame.colorspace, frame.color_range = context.colorspace, context.color_range
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def rgb_of(y, u, v, *, red, blue, is_full, bits=8):
    """Convert Y'CbCr to RGB by definition: Y' = Kr R + Kg G + Kb B; Cb and Cr are B and R minus Y', scaled."""
    step = 2 ** (bits - 8)
    black, luma, chroma = (0, 2**bits - 1, 2**bits - 1) if is_full else (16 * step, 219 * step, 224 * step)
    y, u, v = (np.asarray(plane, dtype=float) for plane in (y, u, v))
    y, u, v = (y - black) / luma, (u - 128 * step) / chroma, (v - 128 * step) / chroma
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(255 * np.stack([r, g, b]), 0, 255)


def first_frame(path, **options) -> np.ndarray:
    return decode(path, [0.0], **options).pixels[0].numpy().astype(int)


BT601 = {"red": 0.299, "blue": 0.114}
BT709 = {"red": 0.2126, "blue": 0.0722}

COLORS = {
    # name: the tags, and their meaning
    "untagged": (None, None, BT601, False),
    "bt601-limited": (Colorspace.SMPTE170M, ColorRange.MPEG, BT601, False),
    "bt601-full": (Colorspace.SMPTE170M, ColorRange.JPEG, BT601, True),
    "bt470bg-limited": (Colorspace.ITU601, ColorRange.MPEG, BT601, False),
    "bt709-limited": (Colorspace.ITU709, ColorRange.MPEG, BT709, False),
    "bt709-full": (Colorspace.ITU709, ColorRange.JPEG, BT709, True),
    "untagged-full": (None, ColorRange.JPEG, BT601, True),
}


def patches(seed=0) -> list[np.ndarray]:
    """Flat patches of 8 by 8 pixels, of colors of all kinds, in three planes of one size."""
    rng = np.random.default_rng(seed)
    return [
        np.kron(rng.integers(low, high, (6, 8)), np.ones((8, 8))).astype(np.uint8)
        for low, high in ((30, 226), (70, 186), (70, 186))
    ]


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("colors", COLORS)
def test_colors_follow_the_tagged_matrix_and_range(tmp_path, colors, container):
    matrix, levels, weights, is_full = COLORS[colors]
    path = tmp_path / f"colors.{container}"
    planes = patches()
    write_planes(path, planes, "yuv444p", matrix=matrix, levels=levels)
    assert np.abs(first_frame(path) - rgb_of(*planes, **weights, is_full=is_full)).max() <= 2


def test_the_matrices_and_ranges_differ_by_more_than_the_tolerance():
    made = [rgb_of(*patches(), **weights, is_full=full) for weights in (BT601, BT709) for full in (False, True)]
    assert all(np.abs(one - other).mean() > 4 for i, one in enumerate(made) for other in made[:i])


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv422p"])
def test_subsampled_colors(tmp_path, pixel_format):
    path = tmp_path / "fewer.mp4"
    y, u, v = patches(1)
    down = 2 if "420" in pixel_format else 1
    write_planes(path, [y, u[::down, ::2], v[::down, ::2]], pixel_format)
    expected = rgb_of(y, u, v, **BT601, is_full=pixel_format == "yuvj420p")
    inside = np.abs(first_frame(path) - expected)[:, 4::8, 4::8]  # at edges, colors of neighbors mix
    assert inside.max() <= 3


@pytest.mark.parametrize(
    ("codec", "pixel_format", "bits"),
    [("libx264", "yuv420p10le", 10), ("libx264", "yuv444p10le", 10), ("ffv1", "yuv420p12le", 12)],
)
def test_more_bits_are_rounded_to_8_bits(tmp_path, codec, pixel_format, bits):
    path = tmp_path / "fine.mkv"
    step = 2 ** (bits - 8)
    y = np.tile(np.linspace(16 * step, 235 * step, 256).round().astype(np.uint16), (64, 1))
    middle = np.full((64, 256) if "444" in pixel_format else (32, 128), 128 * step, dtype=np.uint16)
    write_planes(path, [y, middle, middle], pixel_format, codec=codec)
    # The full range in 256 steps: level i of 8 bits in column i.
    assert np.abs(first_frame(path) - np.arange(256)).max() <= 2


@pytest.mark.parametrize("codec", ["libx264", "ffv1"])  # which decode to gray with neutral colors, and without colors
@pytest.mark.parametrize(("levels", "is_full"), [(ColorRange.MPEG, False), (ColorRange.JPEG, True)])
def test_gray_frames_keep_their_range(tmp_path, codec, levels, is_full):
    path = tmp_path / "grey.mkv"
    y = np.tile(np.repeat(np.arange(16, 236, 4, dtype=np.uint8), 2), (64, 1))
    write_planes(path, [y], "gray", codec=codec, levels=levels)
    expected = y if is_full else (y - 16.0) * 255 / 219
    assert np.abs(first_frame(path) - expected).max() <= 1


def test_gray_of_10_bits(tmp_path):
    path = tmp_path / "grey.mkv"
    y = np.tile(np.arange(64, 940, 14, dtype=np.uint16)[:60], (64, 1))
    write_planes(path, [y], "gray10le", codec="ffv1", levels=ColorRange.MPEG)
    assert np.abs(first_frame(path) - (y - 64.0) * 255 / 876).max() <= 2


@pytest.mark.parametrize(
    ("codec", "pixel_format", "container", "tolerance"),
    [
        ("png", "rgba", "mov", 0),
        ("qtrle", "argb", "mov", 0),
        ("ffv1", "bgra", "mkv", 0),
        ("ffv1", "yuva444p", "mkv", 2),
        ("prores_ks", "yuva444p10le", "mov", 2),
    ],
)
def test_transparent_pixels_are_black(tmp_path, codec, pixel_format, container, tolerance):
    path = tmp_path / f"alpha.{container}"
    picture = np.zeros((32, 64, 4), dtype=np.uint8)
    picture[...] = (200, 100, 50, 0)
    picture[:, :16, 3], picture[:, 16:32, 3], picture[:, 32:48, 3] = 255, 128, 64
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, pixel_format
        frame = av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format=pixel_format)
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    shown = first_frame(path)[:, 16, [8, 24, 40, 56]].T
    # 128 / 255 and 64 / 255 of each colour, rounded.
    expected = np.array([[200, 100, 50], [100, 50, 25], [50, 25, 13], [0, 0, 0]])
    assert np.abs(shown - expected).max() <= tolerance


GIF_DELAYS = [30, 200, 70, 500]
"""Milliseconds."""


def write_gif(path) -> None:
    """Write four transparent frames, each with a red band at another height, 5 pixels high."""
    frames = []
    for number in range(4):
        picture = np.zeros((30, 40, 4), dtype=np.uint8)
        picture[5 * number : 5 * number + 5, :20] = (255, 0, 0, 255)
        frames.append(Image.fromarray(picture))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=GIF_DELAYS, loop=0, disposal=2)


def test_the_transparent_background_of_a_gif_is_black(tmp_path):
    write_gif(tmp_path / "bands.gif")
    frame = first_frame(tmp_path / "bands.gif")
    assert frame[:, 2, 5].tolist() == [255, 0, 0]
    assert frame[:, 2, 30].tolist() == [0, 0, 0]
    assert frame[:, 20, 5].tolist() == [0, 0, 0]


@pytest.mark.parametrize("workers", [1, 3])
def test_the_frames_of_a_gif_last_for_their_delays(tmp_path, workers):
    path = tmp_path / "bands.gif"
    write_gif(path)
    info = probe(path)
    assert info.frame_times_seconds == pytest.approx([0.0, 0.03, 0.23, 0.3])
    assert info.duration_seconds == pytest.approx(0.8)
    timestamps = [0.0, 0.029, 0.031, 0.229, 0.231, 0.299, 0.301, 0.799]
    frames = decode(path, timestamps, workers=workers)
    shown = [[band for band in range(4) if frame[0, 5 * band + 2, 5] > 128] for frame in frames.pixels]
    assert shown == [[0], [0], [1], [1], [2], [2], [3], [3]]
    assert frames.timestamps_seconds == pytest.approx([0, 0, 0.03, 0.03, 0.23, 0.23, 0.3, 0.3])


def slope(height, width) -> list[np.ndarray]:
    """Smooth colors, in three planes."""
    down, across = np.mgrid[0:height, 0:width]
    planes = 40 + 150 * across / width, 100 + 50 * down / height, np.full((height, width), 140)
    return [np.ascontiguousarray(plane).astype(np.uint8) for plane in planes]


@pytest.mark.parametrize(
    ("codec", "pixel_format", "container", "size"),
    [
        ("libx264", "yuv444p", "mp4", (75, 101)),
        ("libx264", "yuv422p", "mp4", (75, 102)),
        ("libvpx-vp9", "yuv420p", "webm", (75, 101)),
        ("ffv1", "yuv420p", "mkv", (75, 101)),
        ("ffv1", "yuv420p", "mkv", (1, 3)),
    ],
)
def test_odd_sizes(tmp_path, codec, pixel_format, container, size):
    path = tmp_path / f"odd.{container}"
    y, u, v = slope(*size)
    down, across = (2 if "420" in pixel_format else 1), (1 if "444" in pixel_format else 2)
    planes = [y, np.ascontiguousarray(u[::down, ::across]), np.ascontiguousarray(v[::down, ::across])]
    write_planes(path, planes, pixel_format, codec=codec)
    info = probe(path)
    assert (info.height, info.width) == size
    frame = first_frame(path)
    assert frame.shape == (3, *size)
    assert np.abs(frame - rgb_of(y, u, v, **BT601, is_full=False)).max() <= 3
    assert first_frame(path, size=20, crop=(20, 30)).shape == (3, 20, 30)


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts", "avi"])
def test_videos_of_one_frame(tmp_path, container):
    path = tmp_path / f"one.{container}"
    write_numbered(path, num_frames=1)
    info = probe(path)
    assert info.num_frames == 1
    assert info.duration_seconds == pytest.approx(0.04, abs=1e-3)
    frames = decode(path, [*sample(info, 8), info.start_seconds, 0.0])
    assert frames.pixels.shape == (3, 3, HEIGHT, WIDTH)
    assert [number_of(frame) for frame in frames.pixels] == [0, 0, 0]
    assert frames.timestamps_seconds == pytest.approx([info.start_seconds] * 3)


QUARTERS = {90: 1, 180: 2, -90: 3}
"""FFmpeg's angle, and quarter turns counter-clockwise."""


@pytest.mark.parametrize("rotation", QUARTERS)
@pytest.mark.parametrize(
    ("size", "crop", "shape"),
    [
        (None, None, {90: (128, 64), 180: (64, 128), -90: (128, 64)}),
        (32, None, {90: (64, 32), 180: (32, 64), -90: (64, 32)}),
        (32, 32, {90: (32, 32), 180: (32, 32), -90: (32, 32)}),
        ((40, 100), (20, 60), {90: (20, 60), 180: (20, 60), -90: (20, 60)}),
    ],
)
def test_rotation_comes_before_size_and_crop(tmp_path, rotation, size, crop, shape):
    path = tmp_path / "rotated.mp4"
    planes = slope(64, 128)
    write_planes(path, planes, "yuv444p", rotation=rotation)
    level = rgb_of(*planes, **BT601, is_full=False).round().astype(np.uint8)
    upright = np.rot90(level.transpose(1, 2, 0), QUARTERS[rotation])
    info = probe(path)
    assert (info.height, info.width) == upright.shape[:2]
    assert info.rotation == -rotation % 360
    height, width = shape[rotation]
    if size is not None:
        target = size if isinstance(size, tuple) else tuple(size * side // 64 for side in upright.shape[:2])
        upright = np.asarray(Image.fromarray(upright).resize(target[::-1], Image.Resampling.BICUBIC))
    top, left = (upright.shape[0] - height) // 2, (upright.shape[1] - width) // 2
    expected = upright[top : top + height, left : left + width].transpose(2, 0, 1).astype(int)
    shown = first_frame(path, size=size, crop=crop)
    assert shown.shape == (3, height, width)
    assert np.abs(shown - expected).max() <= 3


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts", "avi"])
def test_non_square_pixels_are_resized(tmp_path, container):
    # 16:9 stored as 4:3: a pixel is displayed 4/3 as wide as high.
    path = tmp_path / f"wide.{container}"
    planes = slope(90, 120)
    write_planes(path, planes, "yuv444p", aspect=Fraction(4, 3))
    info = probe(path)
    assert (info.height, info.width) == (90, 160)
    stored = rgb_of(*planes, **BT601, is_full=False).round().astype(np.uint8).transpose(1, 2, 0)
    shown = Image.fromarray(stored).resize((160, 90), Image.Resampling.BICUBIC)
    full = first_frame(path)
    assert np.abs(full - np.asarray(shown).transpose(2, 0, 1).astype(int)).max() <= 3
    for size, made in ((45, (45, 80)), ((64, 64), (64, 64)), (120, (120, 213))):
        small = first_frame(path, size=size)
        assert small.shape == (3, *made)
        # Resized directly from the stored frame; resizing twice blurs a little more.
        twice = np.asarray(shown.resize(made[::-1], Image.Resampling.BICUBIC)).transpose(2, 0, 1).astype(int)
        assert np.abs(small - twice).max() <= 5


@pytest.mark.parametrize(("rotation", "size"), [(90, (160, 90)), (180, (90, 160)), (-90, (160, 90))])
def test_non_square_pixels_are_resized_before_rotation(tmp_path, rotation, size):
    path = tmp_path / "tall.mp4"
    write_planes(path, slope(90, 120), "yuv444p", aspect=Fraction(4, 3), rotation=rotation)
    info = probe(path)
    assert (info.height, info.width) == size
    assert first_frame(path).shape == (3, *size)
    assert first_frame(path, size=45).shape == (3, *(side // 2 for side in size))


@pytest.mark.parametrize(
    ("aspect", "width"), [(Fraction(8), 960), (Fraction(9), 120), (Fraction(1, 8), 15), (Fraction(1, 9), 120)]
)
def test_extreme_aspect_ratios_are_ignored(tmp_path, aspect, width):
    path = tmp_path / "extreme.mp4"
    write_planes(path, slope(90, 120), "yuv444p", aspect=aspect)
    assert (probe(path).height, probe(path).width) == (90, width)
    assert first_frame(path).shape == (3, 90, width)


PILLOW_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def pillow(frame: np.ndarray, size: tuple[int, int], filter_: str) -> np.ndarray:
    """Resize (3, H, W) with Pillow, horizontally and then vertically, in every release."""
    image = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    height, width = size
    for step in ((width, image.height), (width, height)):
        image = image.resize(step, PILLOW_FILTERS[filter_])
    return np.asarray(image).transpose(2, 0, 1).astype(int)


def assert_close(made: np.ndarray, expected: np.ndarray) -> None:
    """Check that two frames differ by at most 1, at few pixels by 2."""
    difference = np.abs(made.astype(int) - expected)
    assert made.shape == expected.shape
    assert difference.max() <= 2
    assert (difference > 1).sum() <= max(1, 2e-5 * difference.size)


SIZES = {
    # the requested size, and the resulting size of a frame of (height, width)
    "half": lambda h, w: (min(h, w) // 2, (h // 2, w // 2)),
    "tower": lambda h, w: (224, (224 * h // min(h, w), 224 * w // min(h, w))),
    "a little larger": lambda h, w: ((h + 17, w + 30), (h + 17, w + 30)),
    "flat": lambda h, w: ((h // 3, w * 2), (h // 3, w * 2)),
    "twice": lambda h, w: (2 * min(h, w), (2 * h, 2 * w)),
}


@pytest.mark.parametrize("filter_", PILLOW_FILTERS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "name", ["bikes.mp4", "video_90.mov", "newtonscradle.gif", "h264_10bits.mp4", "flipping_a_pancake.mkv"]
)
def test_real_frames_are_resized_as_by_pillow(videos, name, size, filter_):
    timestamps = [0.05, 0.08]
    full = decode(videos / name, timestamps).pixels.numpy()
    asked, made = SIZES[size](*full.shape[2:])
    resized = decode(videos / name, timestamps, size=asked, resize=filter_).pixels.numpy()
    for frame, original in zip(resized, full, strict=True):
        assert_close(frame, pillow(original, made, filter_))


@pytest.mark.parametrize("filter_", PILLOW_FILTERS)
@pytest.mark.parametrize("size", sorted(SIZES.keys() - {"flat"}))  # which Pillow 13 and later resize vertically first
def test_wide_frames_agree_with_one_call_of_pillow(videos, size, filter_):
    full = first_frame(videos / "bikes.mp4").astype(np.uint8)
    asked, (height, width) = SIZES[size](*full.shape[1:])
    image = Image.fromarray(np.ascontiguousarray(full.transpose(1, 2, 0))).resize(
        (width, height), PILLOW_FILTERS[filter_]
    )
    made = first_frame(videos / "bikes.mp4", size=asked, resize=filter_)
    assert_close(made, np.asarray(image).transpose(2, 0, 1).astype(int))


def drawn() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "noise": rng.integers(0, 256, (3, 97, 131), dtype=np.uint8),
        "black and white": rng.integers(0, 2, (3, 97, 131), dtype=np.uint8) * 255,
        "blocks": numbered_frame(173).transpose(2, 0, 1),
        "tall": rng.integers(0, 256, (3, 300, 20), dtype=np.uint8),
    }


@pytest.mark.parametrize("filter_", PILLOW_FILTERS)
@pytest.mark.parametrize("size", [(224, 224), (50, 70), (1, 1), (97, 40), (40, 131), (200, 60), (60, 200), (194, 262)])
@pytest.mark.parametrize("name", drawn())
def test_drawn_frames_are_resized_as_by_pillow(name, size, filter_):
    frame = drawn()[name]
    made = resize(torch.from_numpy(frame.copy())[None], size, filter_)[0].numpy()
    assert_close(made, pillow(frame, size, filter_))


def test_halves_round_up_as_in_pillow():
    # At twice the width, bilinear weights are 3 to 1: (0, 2) gives 0, 0.5, 1.5, 2; rounded to even, 0.5 would be 0.
    pair = torch.tensor([0, 2], dtype=torch.uint8).expand(1, 3, 1, 2)
    assert resize(pair, (1, 4), "bilinear")[0, 0, 0].tolist() == [0, 1, 2, 2]
    ramp = (np.indices((3, 20, 30)).sum(0) * 5).astype(np.uint8)
    made = resize(torch.from_numpy(ramp)[None], (40, 60), "bilinear")[0].numpy()
    assert made.tolist() == pillow(ramp, (40, 60), "bilinear").tolist()


@pytest.mark.parametrize(
    ("size", "resized", "crop", "shape"),
    [
        (None, (64, 128), None, (64, 128)),
        (32, (32, 64), None, (32, 64)),
        ((20, 30), (20, 30), None, (20, 30)),
        (None, (64, 128), 40, (40, 40)),
        (None, (64, 128), (10, 100), (10, 100)),
        (32, (32, 64), 32, (32, 32)),
        (32, (32, 64), (48, 100), (48, 100)),
        ((100, 50), (100, 50), 60, (60, 60)),
    ],
)
def test_sizes_and_crops(clip, size, resized, crop, shape):
    whole = pillow(decode(clip, [1.0]).pixels[0].numpy(), resized, "bicubic")
    expected = np.zeros((3, *shape), dtype=int)
    (top, skip_top), (left, skip_left) = (
        (max(0, kept - side) // 2, max(0, side - kept) // 2) for kept, side in zip(shape, resized, strict=True)
    )
    part = whole[:, skip_top : skip_top + shape[0], skip_left : skip_left + shape[1]]
    expected[:, top : top + part.shape[1], left : left + part.shape[2]] = part
    assert_close(decode(clip, [1.0], size=size, crop=crop).pixels[0].numpy(), expected)


def test_a_crop_wider_than_the_frame_is_padded_with_black(clip):
    full = decode(clip, [1.0]).pixels
    made = decode(clip, [1.0], crop=(70, 133)).pixels
    # 6 rows more: 3 above, 3 below. 5 columns more: 2 on the left, 3 on the right.
    assert made[..., 3:67, 2:130].equal(full)
    assert made.sum() == full.sum()
