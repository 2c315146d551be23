"""Damaged copies of video files; the damage depends only on a seed and a number."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_MAX_SOURCE_BYTES = 600_000

_HUGE = 100_000
"""Pixels of a side, more than any video has."""

_BOXES = (
    b"ftyp moov mvhd trak tkhd edts elst mdia mdhd hdlr minf stbl stsd stts ctts stss stsc stsz stco co64 avc1 avcC hev1 "
    b"hvcC mdat moof mfhd traf tfhd tfdt trun mvex trex sidx mfra dref"
).split()
_CHUNKS = b"RIFF LIST hdrl avih strl strh strf movi idx1 00dc".split()
_ELEMENTS = {
    "EBML": b"\x1a\x45\xdf\xa3",
    "Segment": b"\x18\x53\x80\x67",
    "Info": b"\x15\x49\xa9\x66",
    "TimestampScale": b"\x2a\xd7\xb1",
    "Duration": b"\x44\x89",
    "Tracks": b"\x16\x54\xae\x6b",
    "TrackEntry": b"\xae",
    "CodecID": b"\x86",
    "CodecPrivate": b"\x63\xa2",
    "Video": b"\xe0",
    "PixelWidth": b"\xb0",
    "PixelHeight": b"\xba",
    "DefaultDuration": b"\x23\xe3\x83",
    "Cluster": b"\x1f\x43\xb6\x75",
    "Timestamp": b"\xe7",
    "SimpleBlock": b"\xa3",
    "Cues": b"\x1c\x53\xbb\x6b",
}
_SUFFIXES = (".mp4", ".mkv", ".avi", ".gif", ".ts", ".webm", ".flv", ".m3u8", ".txt", ".png", "")


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A damaged file: its bytes, its suffix, and a description of the damage."""

    content: bytes
    suffix: str
    description: str


def make(sources: Mapping[str, bytes], seed: int, number: int) -> Mutant:
    """Apply one to four kinds of damage to one of the files."""
    rng = random.Random(f"{seed}/{number}")  # noqa: S311 - damage is no secret
    name = rng.choice(sorted(sources))
    content = bytearray(sources[name])
    own = _DAMAGE_OF.get(_family(content), ())
    others = [sources[other] for other in sorted(sources)]
    steps = [name]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        damage = rng.choice(own if own and rng.random() < 0.6 else _GENERAL_DAMAGE)
        steps.append(f"{damage.__name__.strip('_')}: {damage(rng, content, others)}")
    suffix = Path(name).suffix
    if rng.random() < 0.1:
        suffix = rng.choice(_SUFFIXES)
        steps.append(f"named {suffix!r}")
    return Mutant(content=bytes(content), suffix=suffix, description="; ".join(steps))


def real_sources(folder: Path) -> dict[str, bytes]:
    """Read the small videos of a folder."""
    paths = (path for path in folder.iterdir() if 0 < path.stat().st_size <= _MAX_SOURCE_BYTES)
    return {path.name: path.read_bytes() for path in paths}


def generated_sources(folder: Path) -> dict[str, bytes]:
    """Write a small video in each container, and read it."""
    import av
    from clips import numbered_frame, write_numbered
    from PIL import Image

    exact = {"threads": "1", "mbtree": "0", "g": "12"}  # makes x264's output reproducible
    kinds = {
        "h264.mp4": {"options": {**exact, "bf": "2"}},
        "fast-start.mp4": {"options": {**exact, "g": "250", "bf": "3"}, "fast_start": True},
        "turned.mov": {"options": exact, "rotation": 90},
        "uneven.mp4": {"options": exact, "times": [0.0, 0.04, 0.5, 0.54, 1.3, 1.301, 2.0, 2.04, 3.7]},
        "h265.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:pools=none:frame-threads=1"}},
        "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
        "mpeg2.mpg": {"codec": "mpeg2video"},
        "h264.ts": {"options": {**exact, "bf": "2"}},
        "h264.flv": {"options": exact},
        "wmv2.asf": {"codec": "wmv2", "options": {}},
        "mpeg4.mkv": {"codec": "mpeg4", "options": {"bf": "2"}},
        "raw.avi": {"codec": "rawvideo", "num_frames": 10},
        "lossless.mkv": {"codec": "ffv1", "num_frames": 10},
        "mjpeg.avi": {"codec": "mjpeg", "options": {"strict": "-1"}},
        "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
        "vp8.ogg": {"codec": "libvpx", "options": {"deadline": "realtime"}},
    }
    for name, settings in kinds.items():
        write_numbered(folder / name, **{"num_frames": 40, **settings})
    # Without "bitexact", Matroska files contain random numbers.
    for source, name, options in (
        ("h264.mp4", "fragmented.mp4", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
        ("fast-start.mp4", "h264.mkv", {"fflags": "bitexact"}),
        ("vp9.webm", "vp9.webm", {"fflags": "bitexact"}),
        ("mpeg4.mkv", "mpeg4.mkv", {"fflags": "bitexact"}),
        ("lossless.mkv", "lossless.mkv", {"fflags": "bitexact"}),
    ):
        copied = folder / f"copied-{name}"
        with av.open(str(folder / source)) as whole, av.open(str(copied), "w", options=options) as output:
            stream = output.add_stream_from_template(whole.streams.video[0])
            for packet in whole.demux(whole.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
        copied.replace(folder / name)
    first, *more = (Image.fromarray(numbered_frame(number)) for number in range(20))
    first.save(folder / "pillow.gif", save_all=True, append_images=more, duration=[40, 100] * 10)
    return real_sources(folder)


Damage = Callable[[random.Random, bytearray, Sequence[bytes]], str]
"""Damages a file in place, possibly with parts of the other files, and returns a description."""


def _family(content: bytes | bytearray) -> str:
    heads = {"ebml": _ELEMENTS["EBML"], "gif": b"GIF8", "riff": b"RIFF"}
    by_head = (family for family, head in heads.items() if content.startswith(head))
    boxed = "boxes" if bytes(content[4:8]) in {b"ftyp", b"moov", b"mdat", b"wide"} else ""
    packets = "packets" if content[:1] == b"\x47" and content[188:189] == b"\x47" else ""
    return next(by_head, boxed or packets)


def _number(rng: random.Random, old: int, bits: int) -> int:
    most = (1 << bits) - 1
    edges = (0, 1, 2, 7, 8, most, most >> 1, (most >> 1) + 1, most - 7, _HUGE, old - 1, old + 1, 2 * old, old // 2)
    return (rng.choice(edges) if rng.random() < 0.8 else rng.getrandbits(bits)) & most


def _part(rng: random.Random, content: bytearray) -> slice:
    length = min(len(content), rng.choice((1, 4, 16, 188, 1024, 4096, 30_000)))
    start = rng.randrange(len(content) - length + 1)
    return slice(start, start + length)


def _flip_bytes(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    count = rng.choice((1, 2, 10, 100))
    reach = rng.choice((64, 1024, len(content), len(content)))
    for _ in range(count if content else 0):
        content[rng.randrange(min(reach, len(content)))] = rng.getrandbits(8)
    return f"{count} in the first {reach}"


def _flip_bits(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    count = rng.choice((1, 3, 30))
    for _ in range(count if content else 0):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return str(count)


def _cut_the_end(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    keep = rng.randrange(len(content) + 1)
    del content[keep:]
    return f"after {keep} bytes"


def _cut_the_front(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    cut = rng.randrange(min(len(content), 5000) + 1)
    del content[:cut]
    return f"{cut} bytes"


def _zero(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    at = _part(rng, content)
    content[at] = bytes(at.stop - at.start)
    return f"{at.start}:{at.stop}"


def _noise(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    at = _part(rng, content)
    content[at] = rng.randbytes(at.stop - at.start)
    return f"{at.start}:{at.stop}"


def _remove(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    at = _part(rng, content)
    del content[at]
    return f"{at.start}:{at.stop}"


def _repeat(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    at, times = _part(rng, content), rng.choice((1, 2, 10))
    content[at.stop : at.stop] = content[at] * times
    return f"{at.start}:{at.stop} {times} times"


def _swap(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    one, other = _part(rng, content), _part(rng, content)
    length = min(one.stop - one.start, other.stop - other.start)
    one, other = slice(one.start, one.start + length), slice(other.start, other.start + length)
    content[one], content[other] = content[other], content[one]
    return f"{length} bytes at {one.start} and {other.start}"


def _join(rng: random.Random, content: bytearray, others: Sequence[bytes]) -> str:
    other = rng.choice(others)
    content += other
    return f"{len(other)} bytes of another file"


def _splice(rng: random.Random, content: bytearray, others: Sequence[bytes]) -> str:
    other = rng.choice(others)
    keep, begins = rng.randrange(len(content) + 1), rng.randrange(len(other))
    content[keep:] = other[begins:]
    return f"from {keep} on, another file from {begins} on"


def _find(rng: random.Random, content: bytearray, marks: Sequence[bytes]) -> tuple[bytes, int] | None:
    """Find one of some byte strings: return which, and its end."""
    for mark in rng.sample(list(marks), len(marks)):
        places, at = [], content.find(mark)
        while at >= 0 and len(places) < 100:
            places.append(at)
            at = content.find(mark, at + 1)
        if places:
            return mark, rng.choice(places) + len(mark)
    return None


def _overwrite(content: bytearray, at: int, layout: str, value: int) -> None:
    content[at : at + struct.calcsize(layout)] = struct.pack(layout, value)


def _edit(rng: random.Random, content: bytearray, at: int, layout: str) -> str:
    """Replace a number by another one."""
    length = struct.calcsize(layout)
    if not 0 <= at <= len(content) - length:
        return "nowhere"
    (old,) = struct.unpack_from(layout, content, at)
    new = _number(rng, old, 8 * length)
    _overwrite(content, at, layout, new)
    return f"{old} to {new} at {at}"


def _box_size(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    found = _find(rng, content, _BOXES)
    return f"{found[0].decode()} {_edit(rng, content, found[1] - 8, '>I')}" if found else "none"


def _box_type(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    found, new = _find(rng, content, _BOXES), rng.choice(_BOXES)
    if found:
        content[found[1] - 4 : found[1]] = new
    return f"{found[0].decode()} to {new.decode()}" if found else "none"


def _box_number(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    found = _find(rng, content, _BOXES)
    layout, step = rng.choice((">I", ">I", ">H", ">Q")), rng.randrange(24)
    return f"{found[0].decode()} {_edit(rng, content, found[1] + 4 * step, layout)}" if found else "none"


def _box_sides(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    width, height = rng.choice(((_HUGE, _HUGE), (_HUGE, 1), (1, 1), (0, 0), (30_000, 4), (4, 30_000), (11_000, 11_000)))
    for mark in (b"avc1", b"hev1", b"mp4v"):
        if (at := content.find(mark + bytes(6))) >= 0 and at + 32 < len(content):
            _overwrite(content, at + 28, ">H", min(width, 65_535))
            _overwrite(content, at + 30, ">H", min(height, 65_535))
    if (at := content.find(b"tkhd")) >= 0 and at + 88 < len(content):
        _overwrite(content, at + 80, ">I", min(width, 65_535) << 16)
        _overwrite(content, at + 84, ">I", min(height, 65_535) << 16)
    return f"{width}x{height}"


def _chunk_number(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    found = _find(rng, content, _CHUNKS)
    return f"{found[0].decode()} {_edit(rng, content, found[1] + 4 * rng.randrange(14), '<I')}" if found else "none"


def _element_size(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    name = rng.choice(list(_ELEMENTS))
    found = _find(rng, content, [_ELEMENTS[name]])
    return f"{name} {_edit(rng, content, found[1], rng.choice(('>B', '>Q')))}" if found else "none"


def _element_value(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    name = rng.choice(list(_ELEMENTS))
    found = _find(rng, content, [_ELEMENTS[name]])
    layout, skip = rng.choice((">B", ">H", ">I", ">Q")), rng.choice((1, 1, 1, 2, 8))
    return f"{name} {_edit(rng, content, found[1] + skip, layout)}" if found else "none"


def _element_sides(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    """Replace the content of the element Video by two sides, and an empty element that fills the rest."""
    width, height = rng.choice(((_HUGE, _HUGE), (_HUGE, 1), (1, _HUGE), (0, 0), (11_000, 11_000)))
    found = re.search(rb"\xe0([\x8a\x8c-\xfe])\xb0", content)
    if found:
        length = found[1][0] - 0x80
        sides = b"\xb0\x83" + width.to_bytes(3) + b"\xba\x83" + height.to_bytes(3)
        rest = length - len(sides)
        begins = found.start() + 2
        empty = bytes((0xEC, 0x80 + rest - 2)) + bytes(rest - 2) if rest else b""
        content[begins : begins + length] = sides + empty
    return f"{width}x{height}" if found else "none"


def _gif_number(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    if rng.random() < 0.5:
        return _edit(rng, content, rng.choice((6, 8)), "<H")
    found = _find(rng, content, (b"\x00\x2c", b"\x21\xf9\x04"))
    return _edit(rng, content, found[1] + rng.randrange(9), rng.choice(("<B", "<H"))) if found else "none"


def _packet_header(rng: random.Random, content: bytearray, _others: Sequence[bytes]) -> str:
    count = rng.choice((1, 3, 30))
    for _ in range(count):
        at = 188 * rng.randrange(max(1, len(content) // 188)) + rng.choice((0, 1, 2, 3, 4, 5, *range(6, 30)))
        if at < len(content):
            content[at] = rng.getrandbits(8)
    return str(count)


_GENERAL_DAMAGE: tuple[Damage, ...] = (
    _flip_bytes,
    _flip_bits,
    _cut_the_end,
    _cut_the_front,
    _zero,
    _noise,
    _remove,
    _repeat,
    _swap,
    _join,
    _splice,
)

_DAMAGE_OF: dict[str, tuple[Damage, ...]] = {
    "boxes": (_box_size, _box_type, _box_number, _box_number, _box_number, _box_sides),
    "riff": (_chunk_number,),
    "ebml": (_element_size, _element_value, _element_sides),
    "gif": (_gif_number,),
    "packets": (_packet_header,),
}
