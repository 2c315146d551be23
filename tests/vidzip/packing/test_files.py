from __future__ import annotations

import dataclasses
import errno
import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from towers import random_features

import vidzip
import vidzip.files
from vidzip import Budget, PackedVideo, Plan, VideoInfo, plan, zip_frames
from vidzip.errors import BadArgument, BadPack, DeviceUnavailable, DiskFull, WriteError
from vidzip.packing import SUFFIX, files, is_pack, pack_zipped

INFO = VideoInfo(path="v", duration_seconds=4.0, fps=10.0, num_frames=40, identity="abc")
SECONDS = (0.1 + 0.2, 4 / 3, 2.4, 3.4)


def packed(*, frames=4, total=18, size=9, dim=12, **changes):
    planned = plan(INFO, Budget(total_tokens=total, num_frames=frames), size)
    planned = dataclasses.replace(planned, warnings=("häuser, \ud800 and 'quotes'",))
    zipped = zip_frames(random_features(frames, size, dim=dim), planned.tokens_per_frame)
    seconds = SECONDS if frames == 4 else planned.timestamps_seconds
    stages = {"encode": 1 / 7, "compress": 2e-9}
    video = pack_zipped(
        zipped, planned, timestamps_seconds=seconds, method="visionzip", tower="t", stage_seconds=stages
    )
    return dataclasses.replace(video, **changes)


def assert_same(one: PackedVideo, other: PackedVideo) -> None:
    for field in dataclasses.fields(PackedVideo):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(ours, torch.Tensor):
            assert ours.dtype == theirs.dtype, field.name
            assert ours.equal(theirs), field.name
        else:
            assert ours == theirs, field.name
            assert type(ours) is type(theirs), field.name


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / f"clip{SUFFIX}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """The content of a file that can be read."""
    path = tmp_path_factory.mktemp("whole") / "clip.vidzip"
    packed().save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A file that every example overwrites."""
    return tmp_path_factory.mktemp("damaged") / "clip.vidzip"


def refused(path) -> str:
    """Load a file that is refused; check that the error has the file and a hint, and return its text."""
    with pytest.raises(BadPack) as caught:
        PackedVideo.load(path)
    assert repr(os.fspath(path)) in caught.value.message
    assert caught.value.hint
    return str(caught.value)


# Round trips.


@pytest.mark.parametrize(
    ("made", "asked", "kept"),
    [
        (torch.float32, None, torch.float16),
        (torch.float64, None, torch.float16),
        (torch.float16, None, torch.float16),
        (torch.bfloat16, None, torch.bfloat16),
        (torch.float32, torch.float32, torch.float32),
        (torch.float32, torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, torch.float32, torch.float32),
    ],
)
def test_a_round_trip_rounds_tokens_only(path, made, asked, kept):
    video = packed()
    video = dataclasses.replace(video, tokens=video.tokens.to(made))
    video.save(path, dtype=asked)
    again = PackedVideo.load(path)
    assert_same(again, dataclasses.replace(video, tokens=video.tokens.to(kept)))
    assert [again.provenance(token) for token in range(18)] == [video.provenance(token) for token in range(18)]
    assert os.listdir(path.parent) == [path.name]


def test_the_suffix_is_optional(tmp_path):
    packed().save(str(tmp_path / "clip"))
    assert PackedVideo.load(str(tmp_path / "clip")).num_tokens == 18


def plan_over(frames, **others) -> Plan:
    moments, counts = zip(*frames, strict=True)
    return Plan(budget=Budget(total_tokens=12), timestamps_seconds=moments, tokens_per_frame=counts, **others)


seconds = st.floats(0, 1e6, allow_nan=False)
plans = st.builds(
    plan_over,
    frames=st.lists(st.tuples(seconds, st.integers(0, 3)), min_size=1, max_size=4),
    video_identity=st.none() | st.text(),
    policy=st.sampled_from(["middle", "linspace", None]),
    start_seconds=st.none() | seconds | st.integers(0, 9),
    end_seconds=st.none() | seconds,
    snap=st.booleans(),
    warnings=st.lists(st.text(), max_size=2).map(tuple),
)


@given(plans)
def test_law_every_plan_makes_a_round_trip(place, made):
    zipped = zip_frames(random_features(made.num_frames, 5), made.tokens_per_frame)
    video = pack_zipped(zipped, made, timestamps_seconds=made.timestamps_seconds, method="stride", tower="t")
    video.save(place, dtype=torch.float32)
    assert_same(PackedVideo.load(place), video)


def test_a_plan_without_tokens(path):
    video = packed()
    none = dataclasses.replace(video.plan, tokens_per_frame=(0,) * 4)
    zipped = zip_frames(random_features(4, 9), none.tokens_per_frame)
    empty = pack_zipped(zipped, none, timestamps_seconds=SECONDS, method="visionzip", tower="t")
    empty.save(path, dtype=torch.float32)
    assert_same(PackedVideo.load(path), empty)


def test_more_tokens_than_int16_can_index(path):
    video = packed(frames=4, total=40_000, size=10_000, dim=1)
    video.save(path, dtype=torch.float32)
    assert int(video.source.max()) == 39_999
    assert_same(PackedVideo.load(path), video)


def test_tensors_may_share_memory_or_need_gradients(path):
    video = packed()
    shared = video.anchor_of.int().clamp(max=3).sort().values
    tokens = video.tokens.T.contiguous().T.requires_grad_()
    assert not tokens.is_contiguous()
    dataclasses.replace(video, frame_of=shared, anchor_of=shared, tokens=tokens).save(path)
    again = PackedVideo.load(path)
    assert again.frame_of.equal(shared.long())
    assert again.tokens.equal(tokens.detach().half())


def test_a_pack_of_the_default_budget_takes_0_3_megabytes(path):
    video = packed(frames=34, total=136, size=257, dim=1024, tower="0123456789abcdef" * 2)
    assert video.tokens.shape == (136, 1024)
    video.save(path)
    assert path.stat().st_size < 300e3


def test_the_same_pack_makes_the_same_bytes(path, whole):
    for _ in range(5):
        packed().save(path)
        assert path.read_bytes() == whole
    PackedVideo.load(path).save(path)
    assert path.read_bytes() == whole


def test_other_programs_read_the_tensors(path):
    packed().save(path)
    tensors = safetensors.torch.load_file(path)
    assert tensors["tokens"].equal(packed().tokens.half())
    assert tensors["source"].dtype == torch.int16


def test_an_unavailable_device_is_an_error(path):
    packed().save(path)
    with pytest.raises(DeviceUnavailable, match="cannot be put on cuda:99"):
        PackedVideo.load(path, "cuda:99")
    assert PackedVideo.load(path, torch.device("cpu")).tokens.device.type == "cpu"


# Packs that cannot be saved.


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_tokens_too_large_for_half_floats_are_refused(path, dtype):
    video = packed()
    video.tokens[3, 3] = -70_000
    with pytest.raises(BadArgument, match=r"the tokens reach 70000, but torch\.float16 holds up to 65504") as caught:
        video.save(path, dtype=dtype)
    assert "dtype=torch.float32" in caught.value.hint
    assert not path.exists()
    video.save(path, dtype=torch.float32)
    assert_same(PackedVideo.load(path), video)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int16, "float16"])
def test_an_unknown_dtype(path, dtype):
    with pytest.raises(BadArgument, match=r"unknown dtype .*float"):
        packed().save(path, dtype=dtype)


def counts(value):
    return dataclasses.replace(packed().plan, tokens_per_frame=tuple(map(value, packed().plan.tokens_per_frame)))


WRONG = {
    "nan": ({"tokens": torch.full((18, 12), torch.nan)}, "tokens hold NaN or infinity"),
    "infinity": ({"tokens": torch.full((18, 12), torch.inf)}, "tokens hold NaN or infinity"),
    "frame": ({"frame_of": torch.full((18,), 4)}, "have frames that do not exist"),
    "order": ({"frame_of": torch.arange(18).flip(0).clamp(max=3)}, "are not ordered by frame"),
    "anchor": ({"anchor_of": torch.full((18,), 9)}, "have anchors that do not exist"),
    "negative anchor": ({"anchor_of": torch.full((18,), -1)}, "have anchors that do not exist"),
    "source": ({"source": torch.full((36,), 18)}, "ended in tokens that do not exist"),
    "negative source": ({"source": torch.full((36,), -2)}, "ended in tokens that do not exist"),
    "grids": ({"grids": ((2, 4), (2, 4), (2, 4), (2, 3))}, r"the shapes do not fit: .* source \(36,\) for 34"),
    "negative grids": ({"grids": ((-2, -4), (2, 4), (2, 4), (2, 4))}, "a grid has no rows"),
    "time": ({"timestamps_seconds": (0.0, 1.0, 2.0, float("nan"))}, "timestamps are not finite"),
    "flat": ({"tokens": torch.zeros(18)}, r"the shapes do not fit: tokens \(18,\)"),
    "fewer frames": ({"frame_of": torch.zeros(17)}, r"the shapes do not fit: .* frame_of \(17,\)"),
}


@pytest.mark.parametrize(("changes", "named"), WRONG.values(), ids=WRONG)
def test_inconsistent_packs_are_refused(path, changes, named):
    with pytest.raises(BadArgument, match=f"cannot be saved: .*{named}"):
        packed(**changes).save(path)
    assert not path.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"stage_seconds": {"decode": float("nan")}},
        {"stage_seconds": {1: 2.0}, "method": 5},
        {"method": None},
        {"plan": counts(np.int64)},
        {"plan": counts(float)},
    ],
)
def test_content_that_could_not_be_loaded_is_not_saved(path, changes):
    with pytest.raises(BadArgument, match="cannot be saved"):
        packed(**changes).save(path)
    assert not path.exists()


# Writing.


def test_a_pack_replaces_another(path):
    packed().save(path)
    packed(method="stride").save(path)
    assert PackedVideo.load(path).method == "stride"
    path.write_bytes(path.read_bytes()[:100])
    packed().save(path)
    assert PackedVideo.load(path).method == "visionzip"


def test_another_file_is_never_overwritten(tmp_path):
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"a video")
    with pytest.raises(WriteError, match="exists, and is not a packed video"):
        packed().save(video)
    assert video.read_bytes() == b"a video"
    with pytest.raises(WriteError, match="exists"):
        packed().save(tmp_path)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, WriteError)]
)
def test_a_disk_that_fails_leaves_the_old_file(path, whole, monkeypatch, number, kind):
    path.write_bytes(whole)

    class Failing:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *raised):
            self.file.close()

        def write(self, content):
            self.file.write(content[: len(content) // 2])
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(vidzip.files, "open", lambda *args: Failing(open(*args)), raising=False)  # noqa: SIM115
    with pytest.raises(WriteError, match=r"clip\.vidzip") as caught:
        packed(method="stride").save(path)
    assert type(caught.value) is kind
    assert path.read_bytes() == whole
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("name", ["no/folder.vidzip", "file/below.vidzip", "n" * 300, "null\0.vidzip", "folder.vidzip"])
def test_impossible_paths_are_refused(tmp_path, name):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder.vidzip").mkdir()
    with pytest.raises(WriteError, match="cannot be written"):
        packed().save(f"{tmp_path}/{name}")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.vidzip"]


# Damaged and other files.


@given(st.data())
def test_law_a_changed_byte_is_detected(place, whole, data):
    at = data.draw(st.one_of(st.integers(0, 7), st.integers(0, len(whole) - 1)))
    content = bytearray(whole)
    content[at] ^= data.draw(st.integers(1, 255))
    place.write_bytes(content)
    refused(place)


@given(st.data())
def test_law_a_truncated_file_is_detected(place, whole, data):
    place.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    refused(place)


@given(st.binary(min_size=1))
def test_law_additional_bytes_are_detected(place, whole, more):
    place.write_bytes(whole + more)
    assert "is damaged" in refused(place)


@given(st.binary(), st.booleans())
def test_law_random_bytes_are_refused(place, content, with_length):
    place.write_bytes((len(content).to_bytes(8, "little") if with_length else b"") + content)
    refused(place)


def header(content: bytes) -> bytes:
    return len(content).to_bytes(8, "little") + content


OTHER_FILES = {
    "text": (b"just a text", "is not a packed video"),
    "empty": (b"", r"is empty \(0 bytes\)"),
    "zeros": (bytes(4096), "is not a packed video"),
    "video": (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "is not a packed video"),
    "pickle": (pickle.dumps({"tokens": [1.0]}), "is not a packed video"),
    "model": (safetensors.torch.save({"weight": torch.zeros(2)}, {"format": "pt"}), "is not a packed video"),
    "model without metadata": (safetensors.torch.save({"weight": torch.zeros(2)}), "is not a packed video"),
    "endless header": ((2**63).to_bytes(8, "little") + b"{}", "is not a packed video"),
    "cut header": (header(b"{}")[:8], "is not a packed video"),
    "deep header": (header(b"[" * 100_000), "is not a packed video"),
    "list": (header(b"[]"), "is not a packed video"),
    "number": (header(b"1"), "is not a packed video"),
    "metadata of a wrong type": (header(b'{"__metadata__":[]}'), "is not a packed video"),
    "utf-16": (header('{"__metadata__":{}}'.encode("utf-16")), "is not a packed video"),
    "text of a wrong type": (header(b'{"__metadata__":{"vidzip/pack/2":7}}'), "is damaged"),
    "nothing else": (safetensors.torch.save({}, {files.FORMAT: "{}"}), "is damaged"),
    "no checksum": (safetensors.torch.save({"tokens": torch.zeros(2)}, {files.FORMAT: "{}"}), "is damaged"),
    "older": (
        safetensors.torch.save({"source": torch.zeros(2)}, {"vidzip/pack/1": "{}"}),
        "has the format 'vidzip/pack/1', but vidzip .* reads 'vidzip/pack/2'",
    ),
    "newer": (safetensors.torch.save({"unheard": torch.zeros(2)}, {"vidzip/pack/3": "of"}), "'vidzip/pack/3'"),
}


@pytest.mark.parametrize(("content", "named"), OTHER_FILES.values(), ids=OTHER_FILES)
def test_other_files_are_refused(path, content, named):
    path.write_bytes(content)
    message = refused(path)
    assert re.search(named, message)
    assert "pack the video again" in message


def test_paths_without_a_file_are_refused(tmp_path):
    (tmp_path / "folder.vidzip").mkdir()
    os.mkfifo(tmp_path / "pipe.vidzip")
    assert "there is no file" in refused(tmp_path / "none.vidzip")
    assert "is a folder" in refused(tmp_path / "folder.vidzip")
    assert "is not a regular file" in refused(tmp_path / "pipe.vidzip")
    assert "cannot be opened" in refused(tmp_path / "null\0.vidzip")
    assert "cannot be opened" in refused(tmp_path / ("n" * 300))


def test_a_file_without_permission_is_refused(tmp_path, whole, monkeypatch):
    def forbid(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files, "open", forbid, raising=False)
    (tmp_path / "clip").write_bytes(whole)
    assert "cannot be opened: Permission denied" in refused(tmp_path / "clip")
    assert not is_pack(tmp_path / "clip")


def forge(path, whole, *, description=None, **tensors) -> None:
    """Write a changed file with a correct checksum."""
    (text,) = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"].values()
    there = safetensors.torch.load(whole)
    del there["checksum"]
    there = {name: tensor for name, tensor in (there | tensors).items() if tensor is not None}
    files.write_file(os.fspath(path), there, text if description is None else description(text))


def test_an_unchanged_forgery_is_loaded(path, whole):
    forge(path, whole)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(("changes", "named"), WRONG.values(), ids=WRONG)
def test_inconsistent_tensors_are_refused(path, whole, changes, named):
    (name, value), *_ = changes.items()
    kinds = {"tokens": torch.float16, "source": torch.int16, "timestamps_seconds": torch.float64}  # others are int32
    forge(path, whole, **{name: torch.as_tensor(value, dtype=kinds.get(name, torch.int32))})
    message = refused(path)
    assert re.search(named, message)


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"tokens": None}, r"its tensors are anchor_of .*, frame_of .*, grids .*, source .*, timestamps_seconds"),
        ({"more": torch.zeros(3)}, "its tensors are .*more"),
        ({"tokens": torch.zeros(18, 12, dtype=torch.int32)}, "its tensors are .*tokens .torch.int32"),
        ({"tokens": torch.zeros(18, 12, dtype=torch.float64)}, "its tensors are .*tokens .torch.float64"),
        ({"source": torch.tensor(3, dtype=torch.int16)}, r"the shapes do not fit: .*source \(\)"),
        ({"tokens": torch.zeros(17, 12).half()}, "17 visual tokens for a plan of 18"),
        ({"timestamps_seconds": torch.zeros(3).double()}, "4 frames and 3 timestamps"),
        ({"timestamps_seconds": torch.zeros(2, 2).double()}, r"timestamps \(2, 2\)"),
        ({"grids": torch.ones(4, 3, dtype=torch.int32)}, r"grids \(4, 3\)"),
    ],
)
def test_wrong_tensors_are_refused(path, whole, tensors, named):
    forge(path, whole, **tensors)
    message = refused(path)
    assert re.search(named, message)


def put(*keys, to):
    """Change one value of the description."""

    def change(text):
        description = json.loads(text)
        inner = description
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to
        return json.dumps(description)

    return change


@pytest.mark.parametrize(
    ("description", "named"),
    [
        (lambda _: "", "Expecting value"),
        (lambda _: "[]", "description is [], not _Description"),
        (lambda _: "{}", "description lacks vidzip, method, tower"),
        (lambda _: "[" * 100_000, "recursion"),
        (put("colour", to=3), "description has the unknown fields ['colour']"),
        (put("tower", to=None), "description.tower is None, not str"),
        (put("warnings", to="none"), "description.warnings is 'none'"),
        (put("stage_seconds", to={"decode": 1e999}), "description.stage_seconds['decode'] is inf"),
        (put("plan", to=None), "description.plan is None, not Plan"),
        (put("plan", "unheard", to=3), "description.plan has the unknown fields ['unheard']"),
        (put("plan", "policy", to="newest"), "description.plan.policy is 'newest'"),
        (put("plan", "budget", "total_tokens", to=0), "the token budget is 0"),
        (put("plan", "budget", "total_tokens", to=17), "the budget of 17"),
        (put("plan", "tokens_per_frame", to=[4, 4, 4, 4]), "18 visual tokens for a plan of 16"),
        (put("plan", "tokens_per_frame", to=[18]), "4 timestamps for 1 token counts"),
    ],
)
def test_wrong_descriptions_are_refused(path, whole, description, named):
    forge(path, whole, description=description)
    message = refused(path)
    assert named in message
    assert message.endswith("; pack the video again")


def test_missing_fields_take_their_defaults(path, whole):
    def without(text):
        description = json.loads(text)
        del description["plan"]["snap"]
        return json.dumps(description)

    forge(path, whole, description=without)
    assert PackedVideo.load(path).plan.snap is False


def test_the_file_names_the_version_that_wrote_it(whole):
    assert f'\\"vidzip\\":\\"{vidzip.__version__}\\"'.encode() in whole


# Recognising packs.


@pytest.mark.parametrize(("content", "_"), OTHER_FILES.values(), ids=OTHER_FILES)
def test_packs_are_recognised_by_name_or_content(tmp_path, whole, content, _):
    (tmp_path / "a.vidzip").write_bytes(content)
    (tmp_path / "b.VIDZIP").write_bytes(content)
    (tmp_path / "c.mp4").write_bytes(content)
    (tmp_path / "d").write_bytes(whole)
    assert [is_pack(tmp_path / name) for name in ("a.vidzip", "b.VIDZIP", "d")] == [True] * 3
    assert is_pack(str(tmp_path / "c.mp4")) == (files._FORMATS.encode() in content)


def test_paths_without_a_file_are_not_packs(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert not is_pack(tmp_path / "none.mp4")
    assert not is_pack(tmp_path)
    assert not is_pack(tmp_path / "pipe")
    assert not is_pack("null\0")
    assert is_pack(tmp_path / "none.vidzip")
