from __future__ import annotations

import errno
import pickle
from fractions import Fraction

import numpy as np
import pytest
from clips import number_of, numbered_frame

from vidzip import decode, probe, sample
from vidzip.errors import BadArgument, DiskFull, WriteError
from vidzip.files import write_error
from vidzip.video.writing import write


def numbered(count):
    return (numbered_frame(number) for number in range(count))


@pytest.mark.parametrize("fps", [25, 7.5, Fraction(30000, 1001)])
def test_a_written_file_is_read_back(tmp_path, fps):
    path = tmp_path / "new.mp4"
    assert write(path, numbered(20), fps) == 20
    info = probe(path)
    assert (info.num_frames, info.codec, info.width, info.height) == (20, "h264", 128, 64)
    assert info.fps == pytest.approx(float(fps))
    assert info.duration_seconds == pytest.approx(20 / float(fps), abs=1e-3)
    assert [number_of(frame) for frame in decode(path, sample(info, 20)).pixels] == list(range(20))
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_is_not_overwritten(tmp_path):
    path = tmp_path / "old.mp4"
    path.write_text("precious")
    with pytest.raises(WriteError):
        write(path, numbered(2), 25)
    assert path.read_text() == "precious"


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(WriteError):
        write(tmp_path / "missing" / "new.mp4", numbered(2), 25)


@pytest.mark.parametrize(
    ("frames", "fps", "values"),
    [
        ([], 25, None),
        ([np.zeros((4, 4), np.uint8)], 25, r"0 is uint8 of shape \(4, 4\)"),
        ([np.zeros((4, 4, 3))], 25, "0 is float64"),
        ([np.zeros((4, 5, 3), np.uint8)], 25, "0 is 5x4"),
        ([np.zeros((64, 64, 3), np.uint8), np.zeros((64, 32, 3), np.uint8)], 25, "32x64.*64x64"),
        ([np.zeros((64, 64, 3), np.uint8)], 0, "fps is 0"),
    ],
)
def test_bad_frames_are_errors_and_leave_no_file(tmp_path, frames, fps, values):
    with pytest.raises(BadArgument, match=values):
        write(tmp_path / "new.mp4", frames, fps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({"crf": 52}, "crf is 52"),
        ({"crf": -1}, "crf is -1"),
        ({"preset": "placebo"}, "'placebo'"),
    ],
)
def test_bad_options_are_errors(tmp_path, options, values):
    with pytest.raises(BadArgument, match=values):
        write(tmp_path / "new.mp4", numbered(2), 25, **options)
    assert list(tmp_path.iterdir()) == []


def test_options_reach_the_encoder(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (6, 64, 64, 3), dtype=np.uint8)

    def size(name, **options):
        write(tmp_path / name, noise, 25, **options)
        return (tmp_path / name).stat().st_size

    assert size("fine.mp4", crf=10) > 2 * size("coarse.mp4", crf=40)
    assert size("usual.mp4") == size("same.mp4", crf=18, preset="medium") != size("fast.mp4", preset="ultrafast")


def test_a_file_can_be_reproducible(tmp_path):
    noise = np.random.default_rng(0).integers(90, 150, (30, 240, 424, 3), dtype=np.uint8)
    made = set()
    for number in range(4):
        write(tmp_path / f"{number}.mp4", noise, 25, preset="veryfast", reproducible=True)
        made.add((tmp_path / f"{number}.mp4").read_bytes())
        np.full(1_000_000 + number, number)  # change the content of the memory
    assert len(made) == 1


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EACCES, WriteError)]
)
def test_a_full_disk_differs_from_other_errors(number, kind):
    error = write_error("new.mp4", OSError(number, "refused", "new.mp4.part"))
    assert type(error) is kind
    assert "'new.mp4'" in error.message
    loaded = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(loaded), loaded.message, loaded.hint) == (kind, error.message, error.hint)
