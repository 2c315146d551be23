from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks import shapes
from benchmarks.shapes import (
    NO_VIDEO,
    SETTINGS,
    SHUFFLED,
    STRIDE,
    SUM,
    UNCOMPRESSED,
    BadSet,
    Results,
    Row,
    RunMismatch,
    read_set,
)
from eval.datasets import DatasetError
from eval.shapes import KINDS
from pipelines.shapes import ShapesSettings, write_set
from pipelines.terminal import progress_bar
from vidzip import plan, probe
from vidzip.errors import BadArgument

SEED = 50
"""Seed of the validation split; its first two videos have 54 and 32 frames."""

BY_KEY = {setting.key: setting for setting in SETTINGS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A set of two short videos."""
    root = tmp_path_factory.mktemp("sets") / "short"
    with progress_bar() as show:
        write_set(ShapesSettings(folder=str(root), split="validation", videos=2, seed=SEED, workers=1), show)
    return root


@pytest.fixture(scope="module")
def held(folder):
    return read_set(folder)


@pytest.fixture(scope="module")
def packs(small, held):
    clip = held.clips[0]
    return shapes.pack_all(small, held.video(clip), SETTINGS, clip.name)


def command(folder, out, *more):
    return shapes.main([str(folder), "--model", "tiny-random", "--device", "cpu", "--out", str(out), *more])


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def answered(folder, tmp_path_factory):
    """The file of answers of a whole run."""
    out = tmp_path_factory.mktemp("answers") / "all.jsonl"
    assert command(folder, out) == 0
    return out


def test_every_question_is_asked_in_every_setting(answered, held):
    run, *rows = lines_of(answered)
    assert run["schema"] == "vidzip/shapes-results/1"
    assert (run["model"], run["split"], run["seed"], run["dtype"]) == ("tiny-random", "validation", SEED, "float32")
    ids = [one.id for clip in held.clips for one in held.questions[clip.name]]
    assert len(ids) == 14
    assert sorted((row["setting"], row["id"]) for row in rows) == sorted((key, one) for key in BY_KEY for one in ids)
    tokens = {row["setting"]: row["visual_tokens"] for row in rows}
    assert tokens == {key: {NO_VIDEO: 0, UNCOMPRESSED: 2056, SHUFFLED: 2056}.get(key, 136) for key in BY_KEY}
    frames = {(row["setting"], row["video"]): row["frames"] for row in rows}
    assert [frames["zip-136", clip.name] for clip in held.clips] == [54, 32]  # all frames
    assert {row["kind"] for row in rows} == set(KINDS)
    assert all(row["score"] in (0, 1) and row["finish_reason"] in ("stop", "length") for row in rows)


def test_answers_equal_those_of_pack_and_ask(small, answered, held):
    rows = {(row["setting"], row["id"]): row for row in lines_of(answered)[1:]}
    clip = held.clips[1]
    for key in (UNCOMPRESSED, SUM, "zip-34", STRIDE):
        setting = BY_KEY[key]
        planned = plan(held.video(clip), setting.budget(small), small.tokens_per_frame)
        packed = small.pack(held.video(clip), planned, setting.method, **setting.options)
        for one in held.questions[clip.name][:2]:
            answer = small.ask(packed, one.question.text, shapes.MAX_NEW_TOKENS)
            assert rows[key, one.id]["prediction"] == answer.text


def test_a_second_run_asks_nothing_and_prints_the_same(answered, folder, capsys, monkeypatch):
    before = answered.read_bytes()
    assert command(folder, answered) == 0
    first = capsys.readouterr().out
    monkeypatch.setattr(shapes.VideoModel, "session", lambda *_: pytest.fail("a question was asked again"))
    monkeypatch.setattr(shapes.vidzip, "decode", lambda *_: pytest.fail("a video was decoded again"))
    assert command(folder, answered) == 0
    assert capsys.readouterr().out == first
    assert answered.read_bytes() == before
    for setting in SETTINGS:
        assert setting.title in first
    assert "2 videos, 14 questions, answered by tiny-random" in first


def test_an_interrupted_run_resumes(answered, folder, tmp_path):
    whole = answered.read_bytes()
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(whole[: len(whole) * 2 // 5])  # in the middle of a line, a video and a setting
    assert not cut.read_bytes().endswith(b"\n")
    assert command(folder, cut) == 0
    assert cut.read_bytes() == whole


def test_rows_and_videos_can_be_chosen(answered, folder, tmp_path, capsys):
    out = tmp_path / "some.jsonl"
    assert command(folder, out, "--videos", "1", "--settings", SUM, UNCOMPRESSED, "--markdown") == 0
    rows = lines_of(out)[1:]
    assert [row["setting"] for row in rows] == [UNCOMPRESSED] * 7 + [SUM] * 7
    known = {(row["setting"], row["id"]): row for row in lines_of(answered)[1:]}
    assert all(row == known[row["setting"], row["id"]] for row in rows)
    text = capsys.readouterr().out
    assert "| 8 uncompressed frames | 8 | 2,056 |" in text
    assert "| VisionZip, 8 frames - 8 uncompressed frames | flash |" in text
    assert "no video |" not in text.replace("above no video |", "")
    # What is there already counts for the whole set.
    assert command(folder, out, "--settings", SUM) == 0
    assert len(lines_of(out)) == 1 + 21


def test_a_long_set_has_separate_tables(folder, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert command(folder, out, "--long", str(folder), "--settings", NO_VIDEO) == 0
    assert capsys.readouterr().out.count("shapes version 1, split validation, seed 50: 2 videos") == 2
    assert lines_of(tmp_path / "out-long.jsonl") == lines_of(out)


def test_answers_of_another_run_are_refused(answered, folder, tmp_path, capsys):
    run, *rows = lines_of(answered)
    out = tmp_path / "other.jsonl"
    for key, value in (("weights", "0" * 32), ("seed", 8), ("version", 0), ("split", "test"), ("schema", "x")):
        out.write_text("".join(json.dumps(line) + "\n" for line in ({**run, key: value}, *rows)))
        assert command(folder, out) == 2
        assert f"is of another run: its {key} is {value!r}, not {run[key]!r}" in capsys.readouterr().err
    for broken in (
        "",
        "no answers\n",
        "[]\n",
        json.dumps(run) + "\n{}\n",
        json.dumps(run) + '\n{"setting": 1, "id": 2}\n',
    ):
        out.write_text(broken)
        with pytest.raises(RunMismatch, match=r"other\.jsonl"):
            Results(out, {key: value for key, value in run.items() if key != "schema"})
        assert out.read_text() == broken


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_video_that_cannot_be_decoded_is_an_error_with_its_name(folder, tmp_path, capsys, damage):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    video = broken / "videos" / f"validation_{SEED}_00001.mp4"
    whole = video.read_bytes()
    video.unlink()
    if damage == "cut":
        video.write_bytes(whole[: len(whole) // 2])
    assert command(broken, tmp_path / "out.jsonl", "--settings", SUM) == 2
    assert f"validation_{SEED}_00001.mp4" in capsys.readouterr().err
    assert {row["video"] for row in lines_of(tmp_path / "out.jsonl")[1:]} == {f"validation_{SEED}_00000"}


@pytest.mark.parametrize("key", [setting.key for setting in SETTINGS if setting.frames and not setting.is_shuffled])
def test_packs_equal_those_of_pack(small, held, packs, key):
    setting, video = BY_KEY[key], held.video(held.clips[0])
    alone = small.pack(
        video, plan(probe(video), setting.budget(small), small.tokens_per_frame), setting.method, **setting.options
    )
    together = packs[key]
    torch.testing.assert_close(together.tokens, alone.tokens, rtol=0, atol=1e-5)
    assert together.source.equal(alone.source)
    assert together.anchor_of.equal(alone.anchor_of)
    for name in ("timestamps_seconds", "plan", "method", "tower", "warnings"):
        assert getattr(together, name) == getattr(alone, name)


def test_a_video_is_decoded_once_and_each_frame_encoded_once(small, held, monkeypatch):
    calls, encoded = [], []
    decode, encode = shapes.vidzip.decode, type(small).encode
    monkeypatch.setattr(shapes.vidzip, "decode", lambda *given: calls.append(given) or decode(*given))
    monkeypatch.setattr(type(small), "encode", lambda self, frames: encoded.append(frames) or encode(self, frames))
    clip = held.clips[1]
    shapes.pack_all(small, held.video(clip), SETTINGS, clip.name)
    assert len(calls) == len(encoded) == 1
    times = encoded[0].timestamps_seconds
    assert len(set(times)) == len(times) <= clip.scene.num_frames


def test_shuffled_frames_keep_their_provenance(small, held, packs):
    whole, mixed = packs[UNCOMPRESSED], packs[SHUFFLED]
    assert sorted(mixed.timestamps_seconds) == list(whole.timestamps_seconds) != list(mixed.timestamps_seconds)
    for token in (0, 300, 2055):
        provenance = mixed.provenance(token)
        original = whole.timestamps_seconds.index(provenance.timestamp_seconds)
        assert mixed.tokens[token].equal(whole.tokens[original * 257 + provenance.anchor])
    again = shapes.pack_all(small, held.video(held.clips[0]), [BY_KEY[SHUFFLED]], held.clips[0].name)
    assert again[SHUFFLED].timestamps_seconds == mixed.timestamps_seconds
    other = shapes.pack_all(small, held.video(held.clips[0]), [BY_KEY[SHUFFLED]], "another")
    assert other[SHUFFLED].timestamps_seconds != mixed.timestamps_seconds


def test_ceilings_follow_from_the_frames(answered, held):
    rows = {(row["setting"], row["id"]): row for row in lines_of(answered)[1:]}
    for clip in held.clips:
        count = clip.scene.num_frames
        middles = [(2 * i + 1) * count // 16 for i in range(8)]
        for one in held.questions[clip.name]:
            question, guess = one.question, 1 / one.question.num_choices
            assert rows[NO_VIDEO, one.id]["ceiling"] == guess
            seen = question.is_shown(clip.scene, middles)
            for key in (UNCOMPRESSED, SUM, "zip-8-mean", STRIDE):
                assert rows[key, one.id]["ceiling"] == (1 if seen else guess)
            # Of a motion, the axis is left; of an order, nothing.
            shuffled = {"direction": 0.5, "order": guess}.get(question.kind, 1) if seen else guess
            assert rows[SHUFFLED, one.id]["ceiling"] == shuffled
            everything = question.is_shown(clip.scene, range(count))
            assert rows["zip-136", one.id]["ceiling"] == (1 if everything else guess)


def row(setting, number, score, *, kind="flash", form="", ceiling=1.0, frames=8, tokens=136, finish="stop"):
    return Row(
        setting=setting,
        id=f"q{number}",
        video=f"v{number}",
        kind=kind,
        form=form,
        question="?",
        answer="red",
        prediction="",
        finish_reason=finish,
        frames=frames,
        visual_tokens=tokens,
        score=score,
        ceiling=ceiling,
    )


def test_tables_worked_by_hand():
    kinds = ["flash", "flash", "order", "colour"]
    forms = ["", "", "lasting", ""]

    def column(setting, *scores, **more):
        return [
            row(setting, i, score, kind=kind, form=form, **more)
            for i, (score, kind, form) in enumerate(zip(scores, kinds, forms, strict=True))
        ]

    rows = {
        NO_VIDEO: column(NO_VIDEO, 1, 0, 0, 0, ceiling=0.25, frames=0, tokens=0),
        UNCOMPRESSED: column(UNCOMPRESSED, 1, 0, 1, 1, ceiling=0.5, tokens=2056),
        SUM: column(SUM, 0, 0, 1, 1, finish="length"),
        "zip-34": column("zip-34", 1, 1, 0, 0),
    }
    rows["zip-34"][3] = dataclasses.replace(rows["zip-34"][3], frames=34)
    table = {line[0]: line for line in shapes.accuracies(rows)[::2]}
    assert table["8 uncompressed frames"][1:3] == ["8", "2,056"]
    assert table["8 uncompressed frames"][3].startswith("75.0 [")
    assert table["VisionZip, 34 frames"][1] == "8 to 34"
    names = ("setting", "frames", "tokens", *shapes.COLUMNS, "cut answers")
    cells = dict(zip(names, table["VisionZip, 8 frames"], strict=True))
    assert cells["colour"] == cells["order"] == cells["order, lasting"] == "100.0"  # one video has no interval
    assert cells["shape"] == cells["order, flash"] == "-"
    assert cells["flash"].startswith("0.0 [0.0, ")
    assert cells["cut answers"] == "4"
    ceilings = shapes.accuracies(rows)[3]
    assert ceilings[:4] == ["  ceiling", "", "", "50.0"]
    assert shapes.retention(rows) == [
        ["8 uncompressed frames", "100.0", "100.0"],
        ["VisionZip, 8 frames", "66.7", "50.0"],
        ["VisionZip, 34 frames", "66.7", "50.0"],
    ]
    assert [(line[0], line[1], line[2].partition(" ")[0]) for line in shapes.differences(rows)] == [
        ("VisionZip, 8 frames - 8 uncompressed frames", "flash", "-50.0"),
        (
            "VisionZip, 34 frames - 8 uncompressed frames (the best of these, chosen by these questions)",
            "flash",
            "+50.0",
        ),
    ]


def test_other_sets_are_refused(folder, tmp_path):
    with pytest.raises(BadSet, match=r"shapes.json'.*vidzip shapes"):
        read_set(tmp_path)
    with pytest.raises(BadSet, match="holds 2 videos, not 3"):
        read_set(folder, 3)
    with pytest.raises(BadArgument, match="the number of videos is 0"):
        read_set(folder, 0)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("videos"))
    description = json.loads((copy / "shapes.json").read_text())
    for change in ({"version": 0}, {"split": "exam"}):
        (copy / "shapes.json").write_text(json.dumps({**description, **change}))
        with pytest.raises(BadSet, match="vidzip shapes"):
            read_set(copy)
    (copy / "shapes.json").write_text(json.dumps({**description, "seed": SEED + 1}))
    with pytest.raises(BadSet, match=f"validation_{SEED + 1}_00000"):
        read_set(copy)
    (copy / "shapes.json").write_text(json.dumps(description))
    (copy / "test_a.json").write_text("[]")
    with pytest.raises(DatasetError, match=r"test_q\.json and .*test_a\.json"):
        read_set(copy)
