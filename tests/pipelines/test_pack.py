from __future__ import annotations

import json
import os
import shutil

import pytest
from refusals import assert_refused

import vidzip
from pipelines.ask import total_seconds
from pipelines.cli import main
from vidzip import Answer, PackedVideo

NOTE = "note: no --model was named: tiny answers, which knows coloured shapes only"


def lines_of(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def no_model(monkeypatch):
    """Models cannot be loaded: what is refused, is refused before."""

    def load(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(vidzip, "load", load)


def test_pack_says_what_it_packed(clip, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["pack", str(clip), "--frames", "17", "-o", "clip.vidzip"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "clip.vidzip holds the packed video: vidzip ask clip.vidzip …"
    assert lines[1:3] == ["frames        17", "tokens        4,369 → 136   (8 uncompressed frames take 2,056)"]
    assert lines[3] == f"file          clip.vidzip, {os.path.getsize('clip.vidzip') / 1e3:.1f} kB"
    assert [line.split()[0] for line in lines[4:]] == ["decode", "preprocess", "encode", "compress", "save"]
    assert err == "note: no --model was named: tiny packs, which knows coloured shapes only\n"
    assert os.listdir() == ["clip.vidzip"]


def test_pack_prints_one_object(clip, tmp_path, capsys):
    file = tmp_path / "clip.vidzip"
    arguments = ["pack", str(clip), "--frames", "60", "--output", str(file), "--model", "tiny-random", "--json"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert list(said) == [
        "schema", "frames_requested", "frames", "visual_tokens", "uncompressed_tokens", "baseline_tokens", "tokens_per_frame",
        "timestamps_seconds", "stage_seconds", "method", "model", "tower", "video", "file", "bytes", "warnings",
    ]  # fmt: skip
    assert said["schema"] == "vidzip/packed/1"
    assert (said["frames_requested"], said["frames"], said["visual_tokens"]) == (60, 50, 136)
    assert (said["uncompressed_tokens"], said["baseline_tokens"]) == (50 * 257, 2056)
    assert (said["method"], said["model"], said["video"]) == ("visionzip", "tiny-random", str(clip))
    assert (said["file"], said["bytes"]) == (str(file), file.stat().st_size)
    held = PackedVideo.load(file)
    assert said["tower"] == held.tower
    assert said["tokens_per_frame"] == list(held.plan.tokens_per_frame)
    assert said["timestamps_seconds"] == pytest.approx(held.timestamps_seconds)
    (warning,) = said["warnings"]
    assert "50 distinct frames, fewer than the 60" in warning
    assert err == f"warning: {warning}\n"


def test_law_a_pack_is_answered_as_its_video_is(clip, tmp_path, capsys):
    file = tmp_path / "clip.vidzip"
    look = ["--frames", "60", "--budget", "100", "--start", "0:00", "--model", "tiny-random"]
    asked = ["What?", "Where is it?", "--max-new-tokens", "8", "--json"]
    assert main(["ask", str(clip), *look, *asked]) == 0
    expected = lines_of(capsys)
    assert main(["pack", str(clip), *look, "-o", str(file), "--pack-dtype", "float32", "--json"]) == 0
    lines_of(capsys)
    assert main(["ask", str(file), "--model", "tiny-random", *asked]) == 0
    out, err = capsys.readouterr()
    answers = [json.loads(line) for line in out.splitlines()]
    assert err == f"warning: {expected[0]['warnings'][0]}\n"
    assert [list(answer) for answer in answers] == [list(answer) for answer in expected]
    for answer, one in zip(answers, expected, strict=True):
        assert answer["video"] == str(file)
        differs = {"video", "stage_seconds"}
        assert {key: answer[key] for key in answer if key not in differs} == {
            key: one[key] for key in one if key not in differs
        }


def test_the_table_of_a_pack_tells_the_seconds_of_this_run(pack, capsys):
    assert main(["ask", str(pack), "Where is the star?", "How many stars are there?", "Where is the dog?"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line[:3] for line in lines[:6]] == ["Q: ", "A: "] * 3
    assert lines[6:9] == ["", "frames      34", "tokens      8,738 → 136   (8 uncompressed frames take 2,056)"]
    assert [line.split()[0] for line in lines[9:]] == ["project", "prefix", "prefill", "generate"]
    said = err.splitlines()
    assert said[:2] == [NOTE, "warning: tiny does not know 'dog'"]
    assert said[2].startswith("hint: tiny was trained on videos of coloured shapes")


def test_what_all_questions_share_is_counted_once(pack):
    packed = PackedVideo.load(pack)

    def answer(**seconds: float) -> Answer:
        return Answer(
            text="", finish_reason="stop", visual_tokens=1, new_tokens=1,
            stage_seconds={**packed.stage_seconds, **seconds},
        )  # fmt: skip

    alone = [answer(project=1, prefill=2, generate=3)] * 2
    together = [answer(project=1, prefix=4, prefill=2, generate=3)] * 2
    assert total_seconds(packed, alone) == {**packed.stage_seconds, "project": 2, "prefill": 4, "generate": 6}
    assert total_seconds(packed, together) == {
        **packed.stage_seconds, "project": 1, "prefix": 4, "prefill": 4, "generate": 6,
    }  # fmt: skip


def test_several_questions_are_answered_as_each_alone(clip, capsys):
    questions = ["Where is the star?", "What is the color of the star?", "How many stars are there?"]
    look = ["--frames", "8", "--max-new-tokens", "6", "--json", "--model", "tiny-random"]
    assert main(["ask", str(clip), *questions, *look]) == 0
    together = lines_of(capsys)
    assert all("prefix" in answer["stage_seconds"] for answer in together)
    for question, answer in zip(questions, together, strict=True):
        assert main(["ask", str(clip), question, *look]) == 0
        (alone,) = lines_of(capsys)
        assert "prefix" not in alone["stage_seconds"]
        assert (answer["question"], answer["answer"], answer["finish_reason"]) == (
            question, alone["answer"], alone["finish_reason"],
        )  # fmt: skip


@pytest.mark.parametrize(("dtype", "bytes_each"), [("auto", 2), ("float16", 2), ("bfloat16", 2), ("float32", 4)])
def test_the_precision_in_the_file_can_be_chosen(clip, tmp_path, dtype, bytes_each):
    file = tmp_path / "clip.vidzip"
    assert main(["pack", str(clip), "--frames", "2", "-o", str(file), "--pack-dtype", dtype]) == 0
    tokens = PackedVideo.load(file).tokens
    assert tokens.element_size() == bytes_each
    assert dtype in {"auto", str(tokens.dtype).removeprefix("torch.")}


def test_names_may_begin_with_a_dash(clip, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, "-x.mp4")
    assert main(["pack", "-o", "-x.vidzip", "-x.mp4", "--frames", "2", "--json"]) == 0
    assert main(["ask", "-x.vidzip", "What?", "--max-new-tokens", "1", "--json"]) == 0
    packed, answer = lines_of(capsys)
    assert (packed["video"], packed["file"], answer["video"]) == ("-x.mp4", "-x.vidzip", "-x.vidzip")


def test_a_pack_is_known_by_its_content_too(pack, tmp_path, capsys):
    other = shutil.copy(pack, tmp_path / "clip.mp4")
    assert main(["ask", str(other), "What?", "--max-new-tokens", "1", "--json"]) == 0
    (answer,) = lines_of(capsys)
    assert answer["visual_tokens"] == 136


def test_a_pack_takes_the_place_of_an_older_one(clip, tmp_path, capsys):
    file = tmp_path / "clip.vidzip"
    for frames in ("2", "3"):
        assert main(["pack", str(clip), "--frames", frames, "-o", str(file)]) == 0
    assert PackedVideo.load(file).num_frames == 3


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["{clip}"], "Missing option '-o' / '--output'", "see 'vidzip pack --help'"),
        (["{clip}", "-o", "{clip}"], "exists, and is not a packed video", "give a new name"),
        (["{clip}", "-o", "{folder}/no/clip.vidzip"], "there is no folder", "an existing folder"),
        (["{clip}", "-o", "{folder}/folder.vidzip"], "it is a folder", "an existing folder"),
        (["{clip}", "-o", "{folder}/new.vidzip", "--pack-dtype", "int8"], "'int8' is not one of", "--help"),
        (["{clip}", "-o", "{folder}/new.vidzip", "--frames", "200"], "cannot hold 200 frames", "lower --frames"),
        (["{pack}", "-o", "{folder}/new.vidzip"], "packed video", "give a video"),
        (["missing.mp4", "-o", "{folder}/new.vidzip"], "there is no file 'missing.mp4'", "check the path"),
    ],
)
def test_what_cannot_be_packed_is_refused_before_a_model_is_loaded(
    clip, pack, tmp_path, capsys, no_model, *, arguments, says, hint
):
    (tmp_path / "folder.vidzip").mkdir()
    capsys.readouterr()
    assert main(["pack", *(one.format(clip=clip, pack=pack, folder=tmp_path) for one in arguments)]) == 2
    assert_refused(capsys, says, hint)
    assert os.listdir(tmp_path) == ["folder.vidzip"]


@pytest.mark.parametrize("command", [["ask", "{pack}", "What?"], ["chat", "{pack}"]])
@pytest.mark.parametrize(
    "options",
    [
        ["--frames", "34"],
        ["--budget", "136"],
        ["--start", "1"],
        ["--end", "1"],
        ["--snap-to-keyframes"],
        ["--decoder", "auto"],
        ["--workers", "1"],
        ["--strict", "--time-limit", "600"],
    ],
)
def test_what_chooses_frames_is_refused_beside_a_pack(pack, capsys, no_model, *, command, options):
    capsys.readouterr()
    assert main([*(one.format(pack=pack) for one in command), *options]) == 2
    named = ", ".join(option for option in options if option.startswith("--"))
    assert_refused(capsys, named, "give the video")


def damage(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("change", "says", "hint"),
    [
        (damage, "is damaged", "pack the video again"),
        (lambda content: content[:1000], "is damaged", "pack the video again"),
        (
            lambda content: content.replace(b"vidzip/pack/2", b"vidzip/pack/9"),
            "'vidzip/pack/9'",
            "pack the video again",
        ),
        (lambda content: b"", "is empty (0 bytes)", "pack the video again"),
        (lambda content: b"something else", "is not a packed video", "pack the video again"),
    ],
)
def test_a_pack_that_cannot_be_read_is_refused_before_a_model_is_loaded(
    pack, tmp_path, capsys, no_model, *, change, says, hint
):
    file = tmp_path / "other.vidzip"
    file.write_bytes(change(pack.read_bytes()))
    capsys.readouterr()
    assert main(["ask", str(file), "What?"]) == 2
    assert_refused(capsys, says, hint)


@pytest.mark.parametrize(("name", "says"), [("missing.vidzip", "there is no file"), ("folder.vidzip", "is a folder")])
def test_where_there_is_no_pack(tmp_path, capsys, no_model, *, name, says):
    (tmp_path / "folder.vidzip").mkdir()
    assert main(["ask", str(tmp_path / name), "What?"]) == 2
    assert_refused(capsys, says, "")


@pytest.mark.parametrize("is_named", [True, False])
def test_another_tower_is_said_with_what_to_do(clip, pack, tmp_path, capsys, is_named):
    if is_named:
        file, model, who = pack, ["--model", "tiny-random"], "but tiny-random has"
    else:
        file, model, who = tmp_path / "clip.vidzip", [], "but tiny, the default without --model, has"
        assert main(["pack", str(clip), "--model", "tiny-random", "--frames", "2", "-o", str(file)]) == 0
    capsys.readouterr()
    assert main(["ask", str(file), "What?", *model]) == 2
    assert_refused(capsys, who, "--model")


def test_a_question_is_refused_for_a_pack_as_for_a_video(pack, capsys):
    capsys.readouterr()
    assert main(["ask", str(pack), "What?", " "]) == 2
    assert_refused(capsys, "the question is empty", "ask something")
    assert main(["ask", str(pack), "What?", "--max-new-tokens", "5000"]) == 2
    assert_refused(capsys, "context of 4096", "lower --max-new-tokens")


@pytest.mark.parametrize(
    ("options", "says", "hint"),
    [
        (["--quantize", "8bit", "--device", "cpu"], "needs CUDA", "leave --quantize out"),
        (["--quantize", "2bit"], "'2bit' is not one of '8bit', '4bit'", "see 'vidzip ask --help'"),
        (["--device-map", "auto", "--device", "cpu"], "device is 'cpu' and device_map is 'auto'", "not both"),
        (["--device-map", "sideways"], "Invalid value for '--device-map'", "see 'vidzip ask --help'"),
    ],
)
def test_where_a_model_cannot_go(pack, capsys, *, options, says, hint):
    capsys.readouterr()
    assert main(["ask", str(pack), "What?", *options]) == 2
    assert_refused(capsys, says, hint)
