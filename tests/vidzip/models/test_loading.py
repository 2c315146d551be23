from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch
from originals import original_weights, write_original
from safetensors.torch import load_file, save_file
from transformers import VideoLlavaForConditionalGeneration

from vidzip import Budget, load, plan
from vidzip.errors import BadArgument, BadModelFolder, DeviceUnavailable, NotInstalled, UnknownModel
from vidzip.models.checkpoint import Checkpoint
from vidzip.models.video_llava_original import load_original_tokenizer, read_original_config


def llama_tokenizer(folder):
    checkpoint = Checkpoint.open(folder)
    return load_original_tokenizer(checkpoint, read_original_config(folder, checkpoint.config))


@pytest.fixture(scope="module")
def checkpoint(small, tmp_path_factory):
    """The small model as a folder in transformers' layout."""
    folder = tmp_path_factory.mktemp("checkpoint")
    small.network.save_pretrained(folder)
    small.tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(small.preprocessor.to_config()))
    return folder


@pytest.fixture
def copy(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "copy")


def test_a_folder_answers_as_the_model_it_was_saved_from(small, checkpoint, clip, capfd):
    loaded = load(checkpoint, device="cpu")
    assert loaded.name == str(checkpoint)
    assert loaded.tower_fingerprint == small.tower_fingerprint
    assert loaded.preprocessor == small.preprocessor
    planned = plan(clip, Budget(num_frames=8))
    answers = [model.ask(model.pack(clip, planned), "What?", 8).text for model in (small, loaded)]
    assert answers[0] == answers[1]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_logits_equal_transformers_own_loading_in_every_precision(checkpoint, clip, dtype):
    ours = load(checkpoint, device="cpu", dtype=dtype)
    theirs = VideoLlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=dtype).eval()
    assert {name: buffer.dtype for name, buffer in ours.network.named_buffers()} == {
        name: buffer.dtype for name, buffer in theirs.named_buffers()
    }
    packed = ours.pack(clip, plan(clip, Budget(total_tokens=8 * 257, num_frames=8)))
    embedded = ours.embed(packed, "What is shown?")
    with torch.no_grad():
        assert ours.network(inputs_embeds=embedded).logits.equal(theirs(inputs_embeds=embedded).logits)


def test_the_built_in_model_keeps_its_buffers_too():
    model = load("tiny-random", device="cpu", dtype="bfloat16").network
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert {buffer.dtype for name, buffer in model.named_buffers() if name.endswith("inv_freq")} == {torch.float32}


def hub_name(name):
    """Name a weight as the hub's Video-LLaVA-7B-hf does, which was saved by an early release of transformers."""
    for tower in ("image_tower.", "video_tower."):
        if name.startswith(tower):
            return name.replace(tower, f"{tower}vision_model.", 1)
    return name


def test_weights_named_as_on_the_hub_are_all_found(small, copy):
    def rename(weights):
        renamed = {hub_name(name): weight for name, weight in weights.items()}
        weights.clear()
        weights.update(renamed)
        weights["video_tower.vision_model.embeddings.position_ids"] = torch.arange(257)[None]

    change_weights(rename)(copy)
    assert any(name.startswith("language_model.model.layers") for name in load_file(copy / "model.safetensors"))
    loaded = load(copy, device="cpu")
    assert all(
        one.equal(other) for one, other in zip(loaded.network.parameters(), small.network.parameters(), strict=True)
    )


def test_a_checkpoints_own_sampling_is_not_used(small, copy, clip):
    sampling = {"do_sample": True, "temperature": 50.0, "repetition_penalty": 5.0, "num_beams": 3}
    rewrite("generation_config.json", lambda settings: settings.update(sampling))(copy)
    loaded = load(copy, device="cpu")
    packed = small.pack(clip, plan(clip))
    assert loaded.ask(packed, "What?", 8).text == small.ask(packed, "What?", 8).text


def test_the_tiny_model_is_the_same_every_time_and_leaves_the_random_state_alone(small):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    again = load("tiny-random", device="cpu", dtype="float32")
    assert torch.rand(1) == expected
    assert all(
        one.equal(other) for one, other in zip(again.network.parameters(), small.network.parameters(), strict=True)
    )
    assert again.tokens_per_frame == 257
    assert again.family.feature_layer == -2
    assert not again.network.training


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", torch.float16])
def test_half_precision_answers(clip, dtype):
    model = load("tiny-random", device="cpu", dtype=dtype)
    packed = model.pack(clip, plan(clip))
    assert packed.tokens.dtype is model.network.dtype
    assert model.ask(packed, "What?", 2).new_tokens == 2


@pytest.mark.parametrize("name", ["tiny-rando", "no/such/folder", "/no/such/folder", "", "two words", "owner/model"])
def test_unknown_models_are_said_with_what_is_known(name):
    with pytest.raises(UnknownModel, match="tiny, tiny-random"):
        load(name)


def test_a_hub_id_is_fetched_at_its_revision_and_loaded(small, checkpoint, monkeypatch):
    asked = []

    def fetch(name, **options):
        asked.append((name, options["revision"], set(options["allow_patterns"])))
        return str(checkpoint)

    monkeypatch.setattr("vidzip.models.loading.snapshot_download", fetch)
    loaded = load("owner/model", revision="abc", device="cpu")
    assert asked == [("owner/model", "abc", {"*.json", "*.safetensors", "tokenizer*"})]
    assert loaded.name == "owner/model"
    assert loaded.tower_fingerprint == small.tower_fingerprint


@pytest.mark.parametrize("kind", ["pickles", "safetensors"])
def test_a_hub_ids_pickles_are_fetched_where_there_is_nothing_else(original, tmp_path, monkeypatch, kind):
    asked = []
    cached = tmp_path / "snapshot"
    if kind == "safetensors":
        shutil.copytree(original, cached, ignore=shutil.ignore_patterns("*.bin*"))
        save_file(original_weights(), cached / "model.safetensors")

    def fetch(name, **options):
        asked.append((name, options["revision"], options["allow_patterns"]))
        shutil.copytree(original, cached, ignore=shutil.ignore_patterns("*.bin"), dirs_exist_ok=True)
        if "pytorch_model*.bin" in options["allow_patterns"]:
            shutil.copytree(original, cached, dirs_exist_ok=True)
        return str(cached)

    monkeypatch.setattr("vidzip.models.loading.snapshot_download", fetch)
    loaded = load("LanguageBind/Video-LLaVA-7B", revision="abc", device="cpu")
    first = ("LanguageBind/Video-LLaVA-7B", "abc", ["*.json", "tokenizer*", "*.safetensors"])
    second = ("LanguageBind/Video-LLaVA-7B", "abc", ["*.json", "tokenizer*", "pytorch_model*.bin"])
    assert asked == ([first, second] if kind == "pickles" else [first])
    assert loaded.name == "LanguageBind/Video-LLaVA-7B"
    assert loaded.frames_per_clip == 4


def test_what_the_hub_does_not_give_is_said(monkeypatch):
    def fetch(*_, **__):
        raise OSError("401 Client Error.\nRepository Not Found")

    monkeypatch.setattr("vidzip.models.loading.snapshot_download", fetch)
    with pytest.raises(UnknownModel, match=r"'owner/model'.* 401 Client Error\."):
        load("owner/model")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small original, as the hub has it."""
    folder = tmp_path_factory.mktemp("original") / "checkpoint"
    write_original(folder)
    return folder


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        ({"sentencepiece"}, "needs sentencepiece"),
        ({"google.protobuf"}, "needs protobuf"),
        ({"sentencepiece", "google.protobuf"}, "needs sentencepiece and protobuf"),
    ],
)
def test_what_reads_a_sentencepiece_model_is_an_extra(original, tmp_path, monkeypatch, lacks, says):
    monkeypatch.setattr("vidzip.models.checkpoint.find_spec", lambda name: None if name in lacks else object())
    with pytest.raises(NotInstalled, match=says) as no:
        load(original, device="cpu")
    assert no.value.hint.startswith("pip install 'vidzip[original]'")
    # With a tokenizer.json, nothing is needed.
    copy = shutil.copytree(original, tmp_path / "copy")
    llama_tokenizer(original_with_json(copy))
    assert load(copy, device="cpu").family.prompt("Why?").num_tokens > 10


def original_with_json(folder):
    """Read the tokenizer as it is, and write it as tokenizer.json, in the place of tokenizer.model."""
    with pytest.MonkeyPatch.context() as installed:
        installed.setattr("vidzip.models.checkpoint.find_spec", lambda name: object())
        llama_tokenizer(folder).backend_tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer.model").unlink()
    return folder


def test_google_may_be_no_package_at_all(original, monkeypatch):
    def find(name):
        if name == "google.protobuf":
            raise ModuleNotFoundError("No module named 'google'")
        return object()

    monkeypatch.setattr("vidzip.models.checkpoint.find_spec", find)
    with pytest.raises(NotInstalled, match="needs protobuf"):
        load(original, device="cpu")


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "tokenizer.model").unlink(),
        lambda folder: (folder / "tokenizer.model").write_bytes(b""),
        lambda folder: (folder / "tokenizer.model").write_bytes(b"<html>"),
        lambda folder: (folder / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes()[:200]),
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        lambda folder: (folder / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}, "merges": []}}'),
        lambda folder: (folder / "tokenizer_config.json").write_text("{"),
    ],
)
def test_an_original_without_a_usable_tokenizer_is_refused(original, tmp_path, damage, capfd):
    copy = shutil.copytree(original, tmp_path / "copy")
    damage(copy)
    with pytest.raises(BadModelFolder, match="tokenizer") as caught:
        load(copy, device="cpu")
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("layout", ["original", "checkpoint"])
def test_a_tokenizer_with_more_words_than_the_model_is_refused(request, tmp_path, layout):
    copy = shutil.copytree(request.getfixturevalue(layout), tmp_path / "copy")
    tokenizer = load(copy, device="cpu").tokenizer
    words = len(tokenizer)
    tokenizer.add_tokens(["another"])
    tokenizer.save_pretrained(copy)
    with pytest.raises(BadModelFolder, match=rf"{words}.* {words}") as caught:
        load(copy, device="cpu")
    assert caught.value.hint == "use the tokenizer files that came with the checkpoint"


def test_the_layout_is_known_by_the_config(original, checkpoint):
    kinds = {folder: type(load(folder, device="cpu").network).__name__ for folder in (original, checkpoint)}
    assert list(kinds.values()) == ["TemporalVideoLlava", "VideoLlavaForConditionalGeneration"]
    assert [load(folder, device="cpu").sampling_policy for folder in kinds] == ["linspace", "middle"]


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(BadModelFolder, match=r"config\.json"):
        load(tmp_path)


def drop(name):
    return lambda folder: [file.unlink() for file in folder.glob(name)]


def rewrite(name, change):
    def apply(folder):
        settings = json.loads((folder / name).read_text())
        change(settings)
        (folder / name).write_text(json.dumps(settings))

    return apply


def change_weights(change):
    def apply(folder):
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return apply


def pickle_weights(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def cut(folder):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])


PROJECTOR = "multi_modal_projector.linear_1.weight"
TEMPORAL = "video_tower.vision_model.encoder.layers.0.temporal_embedding"


def the_projector(weights):
    return next(name for name in weights if name.endswith(PROJECTOR))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (drop("*.safetensors"), "weights"),
        (pickle_weights, "pickle"),
        (drop("preprocessor_config.json"), "video_preprocessor_config.json"),
        (drop("tokenizer*"), "tokenizer"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json"),
        (rewrite("config.json", lambda config: config.update(model_type="llava")), "'llava'"),
        (rewrite("preprocessor_config.json", lambda settings: settings.update(crop_size=196)), "196x196"),
        (change_weights(lambda weights: weights.pop(the_projector(weights))), f"1 missing weights .*{PROJECTOR}"),
        (change_weights(lambda weights: weights.update(stray=torch.ones(1))), r"1 unexpected weights \(stray\)"),
        (
            change_weights(lambda weights: weights.update({the_projector(weights): torch.ones(3, 3)})),
            rf"1 mis-shaped weights \(model\.{PROJECTOR} of \(3, 3\) instead of \(64, 64\)\)",
        ),
        (
            change_weights(lambda weights: weights.update({TEMPORAL: torch.ones(1, 8, 64)})),
            r"1 unexpected weights \(.*encoder\.layers\.0\.temporal_embedding\)",
        ),
        (
            change_weights(lambda weights: weights.update({f"model.{PROJECTOR}": torch.ones(64, 64)})),
            "168 weights for 167",
        ),
        (cut, r"\.safetensors"),
        (rewrite("config.json", lambda config: config.update(text_config=3)), "copy"),
        (
            rewrite("config.json", lambda config: config["text_config"].update(hidden_act="magic")),
            "'magic'",
        ),
    ],
)
def test_damaged_checkpoints_are_refused_by_name(copy, damage, says, capfd):
    damage(copy)
    with pytest.raises(BadModelFolder, match=says) as caught:
        load(copy, device="cpu")
    assert caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_loading_prints_nothing_and_needs_no_decoder(original, checkpoint, tmp_path):
    def rope(config):
        config["text_config"].pop("rope_parameters")
        config["text_config"]["rope_scaling"] = {"type": "linear", "factor": 2.0}

    changes = [
        (checkpoint, lambda folder: None, {"device_map": {"": "disk"}}),
        (checkpoint, rewrite("config.json", rope), {}),
        (checkpoint, change_weights(lambda weights: weights.pop(the_projector(weights))), {}),
        (checkpoint, change_weights(lambda weights: weights.update(stray=torch.ones(1))), {}),
        (original, rewrite("config.json", lambda config: config.update(rope_scaling={"type": "magic"})), {}),
        (original, lambda folder: (folder / "tokenizer.model").write_bytes(b"<html>"), {}),
        (original, lambda folder: (folder / "pytorch_model-00001-of-00002.bin").write_bytes(b"<html>"), {}),
    ]
    asked = []
    for number, (source, change, options) in enumerate(changes):
        copy = shutil.copytree(source, tmp_path / str(number))
        change(copy)
        asked.append((str(copy), options))
    code = (
        "import json, sys\n"
        "sys.modules['av'] = None\n"
        "from vidzip import decode, load, plan, probe\n"
        "from vidzip.models.full_size import build\n"
        "from vidzip.errors import BadModelFolder\n"
        "told = []\n"
        "for folder, options in json.loads(sys.argv[1]):\n"
        "    try:\n"
        "        load(folder, **options)\n"
        "        told.append('loaded')\n"
        "    except BadModelFolder:\n"
        "        told.append('refused')\n"
        "assert told == ['loaded'] * 2 + ['refused'] * 5, told\n"
    )
    run = subprocess.run([sys.executable, "-c", code, json.dumps(asked)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"device": "abacus"}, BadArgument, "unknown device 'abacus'"),
        ({"device": "meta"}, BadArgument, "does not run on meta"),
        ({"device": "cuda:97"}, DeviceUnavailable, "no device cuda:97 here"),
        ({"dtype": "int8"}, BadArgument, "use auto or float32, float16, bfloat16"),
        ({"dtype": torch.int8}, BadArgument, r"unknown dtype torch\.int8"),
        ({"revision": "main"}, BadArgument, "revision"),
    ],
)
def test_bad_arguments_say_what_to_do(arguments, error, says):
    with pytest.raises(error, match=says):
        load("tiny-random", **arguments)


def test_auto_takes_what_is_there():
    model = load("tiny-random")
    there = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert model.device.type == there
    assert model.network.dtype is (torch.float32 if there == "cpu" else model.network.dtype)
