from __future__ import annotations

import os
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import HEIGHT, WIDTH, number_of, numbered_frame, write_numbered

from vidzip import decode, probe, sample
from vidzip.video.indexing import index_frames

GROUPS = {"bf": "2", "x264-params": "keyint=12:min-keyint=12:scenecut=0:open-gop=0"}


def shown_in(path) -> list[int]:
    """The numbers of all frames."""
    return [number_of(frame) for frame in decode(path, sample(probe(path), 1000)).pixels]


def edited(path, box: bytes, edit) -> None:
    """Change the content of an MP4's first box of a kind, in place; ``edit`` is given what follows its name."""
    content = bytearray(path.read_bytes())
    at = content.index(box)
    size = struct.unpack(">I", content[at - 4 : at])[0]
    body = bytearray(content[at + 4 : at - 4 + size])
    edit(body)
    content[at + 4 : at - 4 + size] = body
    path.write_bytes(content)


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """Fifty frames with B-frames and a keyframe every twelve."""
    path = tmp_path_factory.mktemp("indexing") / "grouped.mp4"
    write_numbered(path, num_frames=50, options=GROUPS)
    return path


def test_the_header_of_a_simple_mp4_is_used(grouped):
    index = index_frames(grouped)
    assert index.header_problem == ""
    assert index.ticks_per_frame * index.time_base == Fraction(1, 25)
    assert index.has_reliable_timestamps
    assert index.seconds == pytest.approx(np.arange(50) / 25)
    assert index.to_seconds(index.keyframes) == pytest.approx([0, 0.48, 0.96, 1.44, 1.92])
    assert index.last_seconds == index.frame_seconds == pytest.approx(0.04)
    assert index.end_seconds == pytest.approx(2.0)
    assert (index.first.width, index.first.height, index.first.rotation) == (WIDTH, HEIGHT, 0)
    assert index.first.tick == index.ticks[0]
    assert shown_in(grouped) == list(range(50))


def test_the_header_agrees_with_the_packets(grouped):
    from_header, read = index_frames(grouped), index_frames(grouped, trust_header=False)
    assert (read.ticks_per_frame, bool(read.header_problem)) == (None, True)
    for name in ("ticks", "keyframes"):
        assert getattr(from_header, name).tolist() == getattr(read, name).tolist()
    with av.open(grouped) as container:
        assert from_header.num_bytes == read.num_bytes == sum(packet.size for packet in container.demux(video=0))
    info = probe(grouped)
    assert (info.num_keyframes, info.num_bytes) == (5, read.num_bytes)
    assert (from_header.last_ticks, from_header.time_base, from_header.origin_seconds) == (
        read.last_ticks,
        read.time_base,
        read.origin_seconds,
    )


def test_a_variable_rate_is_read_from_the_packets(tmp_path):
    path = tmp_path / "uneven.mp4"
    times = [0.0, 0.04, 0.08, 0.5, 0.54, 1.3, 2.0, 3.7]
    write_numbered(path, times=times)
    index = index_frames(path)
    assert (index.ticks_per_frame, bool(index.header_problem)) == (None, True)
    assert index.seconds == pytest.approx(times, abs=1e-3)
    assert shown_in(path) == list(range(8))


def test_frames_hidden_by_an_edit_list_are_not_indexed(tmp_path, grouped):
    path = tmp_path / "hidden.mp4"
    with av.open(str(grouped)) as whole, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.dts is not None:
                earlier = round(Fraction(5, 25) / packet.time_base)
                packet.stream, packet.pts, packet.dts = stream, packet.pts - earlier, packet.dts - earlier
                output.mux(packet)
    index = index_frames(path)
    assert index.from_header is False
    assert index.header_problem
    assert len(index.ticks) == 45
    assert shown_in(path) == list(range(5, 50))


@pytest.mark.parametrize("share", [0.6, 0.95])
def test_a_truncated_file_has_the_remaining_frames(tmp_path, share):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_numbered(whole, num_frames=100, fast_start=True)
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    index = index_frames(cut)
    assert index.header_problem
    assert 0 < len(index.ticks) < 100
    there = len(index.ticks) - 4  # the last ones may depend on lost ones
    frames = decode(cut, [(i + 0.5) / 25 for i in range(there)])
    assert [number_of(frame) for frame in frames.pixels] == list(range(there))


def test_a_fragmented_mp4_is_read_from_its_packets(tmp_path, grouped):
    path = tmp_path / "fragments.mp4"
    movflags = {"movflags": "frag_keyframe+empty_moov"}
    with av.open(str(grouped)) as whole, av.open(str(path), "w", options=movflags) as output:
        stream = output.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    assert path.read_bytes().count(b"moof") == 5
    index = index_frames(path)
    assert index.from_header is False
    assert index.header_problem
    assert index.seconds == pytest.approx(np.arange(50) / 25)
    assert index.to_seconds(index.keyframes) == pytest.approx([0, 0.48, 0.96, 1.44, 1.92])
    assert shown_in(path) == list(range(50))
    frames = decode(path, [1.96, 0.5, 1.2])
    assert [number_of(frame) for frame in frames.pixels] == [49, 12, 30]


def longer_duration(body: bytearray) -> None:
    body[16:20] = struct.pack(">I", 3 * struct.unpack(">I", body[16:20])[0])


def no_duration(body: bytearray) -> None:
    body[16:20] = bytes(4)


def fewer_sizes(body: bytearray) -> None:
    body[8:12] = struct.pack(">I", 40)


def fewer_times(body: bytearray) -> None:
    count, delta = struct.unpack(">II", body[8:16])
    body[8:16] = struct.pack(">II", count - 10, delta)


def more_times(body: bytearray) -> None:
    count, delta = struct.unpack(">II", body[8:16])
    body[8:16] = struct.pack(">II", count + 10, delta)


@pytest.mark.parametrize(
    ("box", "edit", "frames"),
    [
        (b"mdhd", longer_duration, 50),
        (b"mdhd", no_duration, 50),
        (b"stsz", fewer_sizes, 40),
        (b"stts", fewer_times, 40),
        (b"stts", more_times, 50),
    ],
)
def test_wrong_headers_move_no_frame(tmp_path, grouped, box, edit, frames):
    path = tmp_path / "wrong.mp4"
    path.write_bytes(grouped.read_bytes())
    edited(path, box, edit)
    assert path.read_bytes() != grouped.read_bytes()
    # The last two remaining frames may depend on a lost one.
    timestamps = [(i + 0.5) / 25 for i in range(frames - 2)]
    assert [number_of(frame) for frame in decode(path, timestamps).pixels] == list(range(frames - 2))


def test_doubled_durations_are_used(tmp_path):
    path = tmp_path / "slow.mp4"
    write_numbered(path, num_frames=50, options={"bf": "0"})

    def twice(body: bytearray) -> None:
        count, delta = struct.unpack(">II", body[8:16])
        body[8:16] = struct.pack(">II", count, 2 * delta)

    edited(path, b"stts", twice)
    # The edit list still shows 2 seconds: the first 25 frames, 0.08 s each.
    assert probe(path).num_frames == 25
    timestamps = [(i + 0.5) * 0.08 for i in range(25)]
    assert [number_of(frame) for frame in decode(path, timestamps).pixels] == list(range(25))


@pytest.mark.parametrize(("late", "behind"), [(Fraction(1), 1), (Fraction(1, 4), 0)])
def test_frames_displayed_later_than_the_header_lists_them(tmp_path, late, behind):
    # An MP4's header lists decoding timestamps. Here the frames from number 20 on are displayed later.
    plain, path = tmp_path / "plain.mp4", tmp_path / "late.mp4"
    write_numbered(plain, num_frames=50, options={"bf": "0", "g": "12"})
    with av.open(str(plain)) as whole, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(whole.streams.video[0])
        for number, packet in enumerate(whole.demux(whole.streams.video[0])):
            if packet.dts is not None:
                packet.stream = stream
                packet.pts += int(late * packet.duration) if number >= 20 else 0
                output.mux(packet)
    timestamps = [(i + 0.5) / 25 for i in range(50)]
    frames = decode(path, timestamps)
    # In the middle of a frame's usual time, the frame before is on screen, or still the frame itself.
    assert [number_of(frame) for frame in frames.pixels] == [i if i < 20 else i - behind for i in range(50)]
    assert frames.timestamps_seconds[40] == pytest.approx(float(40 - behind + late) / 25)


@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_a_frame_between_two_listed_timestamps(tmp_path, b_frames):
    # All are displayed one frame late, except number 21: at 20.25 / 25 s, before the next listed timestamp.
    plain, path = tmp_path / "plain.mp4", tmp_path / "between.mp4"
    write_numbered(plain, num_frames=50, options={"bf": b_frames, "g": "12"})
    with av.open(str(plain)) as whole, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                packet.pts += packet.duration // (4 if packet.pts == 21 * packet.duration else 1)
                output.mux(packet)
    assert index_frames(path).from_header
    for timestamp, number in ((19.5, 19), (20.1, 20), (20.5, 21), (21.5, 21), (22.5, 22)):
        assert number_of(decode(path, [timestamp / 25]).pixels[0]) == number


def test_an_avi_without_reliable_timestamps_is_decoded_exactly(tmp_path):
    path = tmp_path / "clip.avi"
    write_numbered(path, num_frames=40, codec="mpeg4", options={"bf": "2", "g": "12"})
    index = index_frames(path)
    assert not index.has_reliable_timestamps
    assert index.from_header is False
    assert shown_in(path) == list(range(40))


@pytest.mark.parametrize("container", ["mkv", "ts", "mpg", "flv"])
def test_other_containers_have_reliable_timestamps(tmp_path, container):
    path = tmp_path / f"clip.{container}"
    codec, options = ("mpeg2video", {"bf": "2", "g": "12"}) if container == "mpg" else ("libx264", GROUPS)
    write_numbered(path, num_frames=40, codec=codec, options=options)
    index = index_frames(path)
    assert index.from_header is False
    assert index.has_reliable_timestamps
    assert np.diff(index.seconds) == pytest.approx([0.04] * 39, abs=2e-3)
    assert len(index.keyframes) >= 4


def test_the_only_keyframe_of_a_gif_is_its_first_frame(tmp_path):
    path = tmp_path / "clip.gif"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("gif", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "rgb8"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24").reformat(format="rgb8")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    index = index_frames(path)
    assert index.keyframes.tolist() == [index.ticks[0]]
    assert shown_in(path) == list(range(20))


def test_an_index_is_cached_until_the_file_changes(tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    write_numbered(path, num_frames=30)
    first = index_frames(path)
    assert index_frames(path) is first
    monkeypatch.chdir(tmp_path)
    assert index_frames("clip.mp4").ticks.tolist() == first.ticks.tolist()

    write_numbered(path, num_frames=20)
    second = index_frames(path)
    assert second is not first
    assert (len(first.ticks), len(second.ticks)) == (30, 20)
    assert shown_in(path) == list(range(20))

    # The same name and size, but a later time of change.
    status = os.stat(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"mdhd")
    content[at + 16 : at + 20] = struct.pack(">I", 2 * struct.unpack(">I", content[at + 16 : at + 20])[0])
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    third = index_frames(path)
    assert third is not second
    assert os.stat(path).st_size == status.st_size


def test_the_same_name_in_another_folder(tmp_path, monkeypatch):
    for name, num_frames in (("one", 10), ("other", 20)):
        (tmp_path / name).mkdir()
        write_numbered(tmp_path / name / "clip.mp4", num_frames=num_frames)
        monkeypatch.chdir(tmp_path / name)
        assert len(index_frames("clip.mp4").ticks) == num_frames
