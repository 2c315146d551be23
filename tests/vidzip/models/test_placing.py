from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
import torch
from accelerate import infer_auto_device_map
from originals import write_original
from transformers.quantizers.quantizers_utils import should_convert_module

from vidzip import Budget, PackedVideo, load
from vidzip.errors import BadArgument, BadModelFolder, DeviceUnavailable, NotInstalled, OutOfMemory
from vidzip.models import BUILT_IN, placing
from vidzip.models.bfloat16 import is_bfloat16_fast
from vidzip.models.converting import convert
from vidzip.models.placing import MIN_WEIGHTS_FOR_BFLOAT16, Placement, choose_placement, find_device, find_dtype
from vidzip.models.video_llava_original import TemporalVideoLlava

QUESTIONS = ["What is shown?", "Where is it?", "How many people are there in the video?"]
PARTS = ("model.video_tower", "model.image_tower", "model.multi_modal_projector", "model.language_model", "lm_head")

NEEDS_NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this is about machines without CUDA")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A small model in every layout."""
    place = tmp_path_factory.mktemp("models")
    write_original(place / "original")
    convert(place / "original", place / "converted", device="cpu")
    shutil.copytree(BUILT_IN["tiny"], place / "port")
    return place


@pytest.fixture(scope="module")
def expected(folders, clip):
    """What each layout says, all of it on the CPU."""
    return {name: said(load(folders / name, device="cpu"), clip) for name in ("original", "converted", "port")}


def said(model, clip):
    packed = model.pack(clip, model.plan(clip, Budget(num_frames=9, total_tokens=60)))
    session = model.session(packed)
    chat = session.chat()
    return [
        packed.tokens.tolist(),
        [model.ask(packed, question, 6).text for question in QUESTIONS],
        [answer.text for answer in model.ask_many(packed, QUESTIONS, 6)],
        [session.ask(question, 6).text for question in QUESTIONS],
        [chat.ask(question, 6).text for question in QUESTIONS],
    ]


@NEEDS_NO_CUDA
@pytest.mark.parametrize("layout", ["original", "converted", "port"])
@pytest.mark.parametrize("whole", ["auto", "sequential", {"": "cpu"}, dict.fromkeys(PARTS, "cpu")])
def test_a_map_to_the_cpu_changes_nothing(folders, expected, clip, *, layout, whole):
    model = load(folders / layout, device_map=whole)
    assert model.device == torch.device("cpu")
    assert said(model, clip) == expected[layout]
    assert model.dtype is torch.float32


LAYERS = {"original": 3, "converted": 3, "port": 4}
ON_DISK = {
    "all of it": PARTS,
    "the towers": ("model.video_tower", "model.image_tower"),
    "the language model": ("model.language_model",),
    "a layer": ("model.language_model.layers.1",),
    "words and projector": ("model.language_model.embed_tokens", "lm_head", "model.multi_modal_projector"),
}


def device_map(layout, on_disk):
    """Keep some parts on the disk, the rest on the CPU."""
    names = ["embed_tokens", "norm", *(f"layers.{number}" for number in range(LAYERS[layout]))]
    parts = [part for part in PARTS if part != "model.language_model" or part in ON_DISK[on_disk]]
    if "model.language_model" not in parts:
        parts += [f"model.language_model.{name}" for name in names]
    return {part: "disk" if part in ON_DISK[on_disk] else "cpu" for part in parts}


@NEEDS_NO_CUDA
@pytest.mark.parametrize("layout", ["converted", "port"])
@pytest.mark.parametrize("on_disk", ON_DISK)
@pytest.mark.filterwarnings("ignore:You are calling .generate:UserWarning")  # 5.17's, where the tower is on the disk
def test_what_is_on_the_disk_is_read_from_the_checkpoint(folders, expected, clip, *, layout, on_disk):
    model = load(folders / layout, device_map=device_map(layout, on_disk), dtype="float32")
    weights = dict(model.network.named_parameters())
    assert {name for name, weight in weights.items() if weight.is_meta} == {
        name for name in weights if name.startswith(tuple(f"{part}." for part in ON_DISK[on_disk]))
    }
    assert model.device == torch.device("cpu")
    assert said(model, clip) == expected[layout]
    with pytest.raises(BadArgument, match="weight"):
        _ = model.fingerprint


@NEEDS_NO_CUDA
def test_what_is_on_the_disk_takes_the_precision_that_is_asked_for_in_silence(folders, clip, caplog, capfd):
    spread = load(folders / "converted", device_map=device_map("converted", "the language model"), dtype="bfloat16")
    whole = load(folders / "converted", device="cpu", dtype="bfloat16")
    assert said(spread, clip) == said(whole, clip)
    assert (caplog.records, *capfd.readouterr()) == ([], "", "")


@NEEDS_NO_CUDA
def test_the_originals_own_shards_cannot_stay_on_the_disk(folders, capfd):
    with pytest.raises(BadModelFolder, match="original") as caught:
        load(folders / "original", device_map=device_map("original", "a layer"))
    assert "vidzip convert" in caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_the_towers_fingerprint_is_the_same_wherever_it_is(folders):
    spread = load(folders / "converted", device_map=device_map("converted", "the towers"))
    assert spread.tower_fingerprint == load(folders / "original", device="cpu").tower_fingerprint


@pytest.mark.parametrize("layout", ["original", "port"])
def test_no_layer_is_split_between_devices(folders, layout):
    model = load(folders / layout, device="cpu").network
    sizes = [weight.nbytes for weight in model.parameters()]
    layers = re.compile(r"(video_tower|image_tower)\.encoder\.layers\.\d+\.|language_model\.layers\.\d+\.")
    maps = []
    for share in range(1, 20):
        room = {"cpu": sum(sizes) * share // 20, "disk": sum(sizes) * 2}
        maps.append(infer_auto_device_map(model, room, no_split_module_classes=list(model._no_split_modules)))
    assert not [name for worked_out in maps for name in worked_out if layers.search(name)]
    assert any({"cpu", "disk"} == set(worked_out.values()) for worked_out in maps)
    assert ("LanguageBindLayer" in model._no_split_modules) == isinstance(model, TemporalVideoLlava)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"device_map": "auto", "device": "cpu"}, BadArgument, "'cpu'.*'auto'"),
        ({"device_map": {"": "cpu"}, "device": "cuda"}, BadArgument, "'cuda'.*'cpu'"),
        ({"device_map": "cpu"}, BadArgument, "'cpu'.*auto, balanced"),
        ({"device_map": ["cpu"]}, BadArgument, r"\['cpu'\]"),
        ({"device_map": {"": "abacus"}}, BadArgument, "'abacus'"),
        ({"device_map": {"": "cuda:97"}}, DeviceUnavailable, "cuda:97"),
        ({"device_map": {"": 97}}, DeviceUnavailable, "cuda:97"),
        ({"device_map": {}}, BadArgument, r"\d+ weights.* lm_head.weight|\d+ weights.* model"),
        ({"device_map": {"model.video_tower": "cpu"}}, BadArgument, r"\d+ weights.* model\.image_tower"),
        ({"device_map": {"": "cpu", "lm_head": "disk"}}, BadArgument, "'lm_head' inside ''"),
        (
            {"device_map": {"": "cpu", "model.vision_tower": "cpu", "head": "cpu"}},
            BadArgument,
            "'head', 'model.vision_tower'",
        ),
        ({"quantize": "2bit", "device": "cpu"}, BadArgument, "'2bit'.* 8bit or 4bit"),
        ({"quantize": "8bit", "device": "cpu"}, DeviceUnavailable, "8bit.*CUDA.*cpu"),
        ({"quantize": "4bit", "device": "cpu"}, DeviceUnavailable, "4bit.*CUDA.*--dtype float16"),
    ],
)
@pytest.mark.parametrize("layout", ["original", "converted", "port"])
def test_what_cannot_be_placed_is_refused(folders, layout, options, error, says):
    with pytest.raises(error, match=says) as caught:
        load(folders / layout, **options)
    assert caught.value.hint


@NEEDS_NO_CUDA
def test_without_cuda_nothing_is_quantised(folders):
    with pytest.raises(DeviceUnavailable, match=r"4bit.*CUDA.*cpu"):
        load(folders / "original", quantize="4bit")


def test_what_is_built_in_code_is_not_spread():
    for options in ({"device_map": "auto"}, {"device_map": {"": "cpu"}}):
        with pytest.raises(BadArgument, match="tiny-random"):
            load("tiny-random", **options)


@pytest.fixture
def cuda(monkeypatch):
    """Two devices, as far as placing asks."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)


@pytest.fixture
def installed(monkeypatch):
    """Say which libraries are installed; all when left out."""

    def choose(*names):
        monkeypatch.setattr(placing, "find_spec", lambda name: object() if not names or name in names else None)

    choose()
    return choose


def test_what_is_not_installed_is_said_with_how_to_install_it(installed, cuda):
    installed("accelerate")
    with pytest.raises(NotInstalled, match=r"bitsandbytes.*vidzip\[quantize\]"):
        choose_placement(quantize="8bit")
    installed("bitsandbytes")
    with pytest.raises(NotInstalled, match=r"accelerate.*vidzip\[quantize\]"):
        choose_placement(quantize="4bit")
    with pytest.raises(NotInstalled, match=r"accelerate.*vidzip\[spread\]"):
        choose_placement(device_map="auto")
    assert not choose_placement().is_placed_on_load


@pytest.mark.parametrize("device", ["cpu", "disk"])
def test_what_is_quantised_stays_on_cuda(installed, cuda, device):
    with pytest.raises(DeviceUnavailable, match=f"8bit.*CUDA.*{device}"):
        choose_placement(quantize="8bit", device_map={"": 0, "lm_head": device})
    assert choose_placement(quantize="8bit", device_map={"": 0, "lm_head": "cuda:1"}).device_map == {
        "": 0,
        "lm_head": "cuda:1",
    }


@pytest.fixture
def bitsandbytes(monkeypatch):
    """A version of it, which transformers asks for."""
    version = placing.BitsAndBytesConfig.__init__.__globals__["importlib"].metadata.version
    monkeypatch.setattr(
        "importlib.metadata.version", lambda name: "0.48.0" if name == "bitsandbytes" else version(name)
    )


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_options_of_a_quantised_placement(installed, cuda, bitsandbytes, quantize, dtype):
    placement = choose_placement(quantize=quantize, dtype=dtype)
    assert placement.is_placed_on_load
    options = placement.loading_options()
    config = options["quantization_config"]
    assert (config.load_in_8bit, config.load_in_4bit) == (quantize == "8bit", quantize == "4bit")
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_compute_dtype is dtype
    assert options["dtype"] is dtype
    assert options["device_map"] == {"": torch.device("cuda")}
    assert choose_placement(quantize=quantize, device_map="auto").loading_options()["device_map"] == "auto"
    assert choose_placement(quantize=quantize, device="cuda:1").loading_options()["device_map"] == {
        "": torch.device("cuda:1")
    }


@pytest.mark.parametrize("layout", ["original", "port"])
def test_transformers_quantises_the_language_models_layers_and_nothing_else(
    folders, installed, cuda, bitsandbytes, layout
):
    kept = choose_placement(quantize="4bit").loading_options()["quantization_config"].llm_int8_skip_modules
    model = load(folders / layout, device="cpu").network
    linear = [name for name, module in model.named_modules() if type(module) is torch.nn.Linear]
    quantised = {name for name in linear if should_convert_module(name, kept)}
    assert quantised == {name for name in linear if name.startswith("model.language_model.layers.")}
    assert len(quantised) == 7 * model.config.text_config.num_hidden_layers
    assert {"lm_head", "model.multi_modal_projector.linear_1", "model.video_tower.encoder.layers.0.mlp.fc1"} <= set(
        linear
    )


def test_an_unquantised_placement_needs_no_library(monkeypatch):
    monkeypatch.setattr(placing, "find_spec", lambda name: pytest.fail(f"{name} was looked for"))
    placement = choose_placement(device="cpu", dtype="float16")
    assert placement == Placement(device=torch.device("cpu"), dtype=torch.float16)
    assert placement.loading_options() == {"dtype": torch.float16, "attn_implementation": "sdpa"}


@pytest.mark.parametrize(
    ("bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float16)], ids=["newer CUDA", "older CUDA"]
)
def test_auto_takes_the_half_precision_that_the_device_has(cuda, monkeypatch, bf16, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    placement = choose_placement()
    assert (placement.device, placement.dtype) == (torch.device("cuda"), dtype)
    assert find_device("cuda:1") == torch.device("cuda:1")
    assert find_dtype("auto", torch.device("mps")) is torch.float16
    assert find_dtype("auto", torch.device("cpu")) is torch.float32
    with pytest.raises(DeviceUnavailable, match="cuda:2"):
        find_device("cuda:2")


def test_the_first_device_of_a_map_says_the_precision(installed, cuda):
    assert choose_placement(device_map="auto").device == torch.device("cuda")
    on_both = choose_placement(device_map={"model": "cuda:1", "lm_head": 0})
    assert (on_both.device, on_both.dtype) == (torch.device("cuda:1"), torch.bfloat16)
    on_disk_and_cpu = choose_placement(device_map={"model": "disk", "lm_head": "cpu"})
    assert (on_disk_and_cpu.device, on_disk_and_cpu.dtype) == (torch.device("cpu"), torch.float32)
    assert choose_placement(device_map={"": "disk"}).device == torch.device("cpu")


def test_weights_that_do_not_fit_the_device_are_said(folders, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    for name in ("from_pretrained", "to"):
        with monkeypatch.context() as context:
            context.setattr(TemporalVideoLlava, name, full)
            with pytest.raises(OutOfMemory, match=str(folders / "original")):
                load(folders / "original", device="cpu")


HALF, FULL = (torch.float16, torch.bfloat16), torch.float32


def weights(*dtypes, count=MIN_WEIGHTS_FOR_BFLOAT16):
    """As many weights of each, without memory for them."""
    return [torch.empty(count, dtype=dtype, device="meta") for dtype in dtypes]


@pytest.mark.parametrize(
    ("stored", "is_good", "expected"),
    [
        (weights(*HALF), True, torch.bfloat16),
        (weights(torch.float16), True, torch.bfloat16),
        (weights(torch.float16), False, FULL),
        (weights(torch.float16, count=MIN_WEIGHTS_FOR_BFLOAT16 - 1), True, FULL),
        (weights(*HALF, count=MIN_WEIGHTS_FOR_BFLOAT16 // 2), True, torch.bfloat16),
        (weights(torch.bfloat16, FULL), True, FULL),
        (weights(FULL), True, FULL),
        (weights(torch.float64), True, FULL),
        ([], True, FULL),
    ],
)
def test_a_cpu_that_is_good_at_it_takes_bfloat16_for_large_models_stored_in_half_precision(stored, is_good, expected):
    assert choose_placement("cpu").for_weights(stored, lambda: is_good) == replace(
        choose_placement("cpu"), dtype=expected
    )


def test_a_precision_that_was_named_stays_and_nothing_is_measured(cuda):
    def measure():
        pytest.fail("the CPU was measured")

    for placement in (
        choose_placement("cpu", "float32"),
        choose_placement("cpu", torch.float16),
        choose_placement("cuda"),
        choose_placement("cuda", "float32"),
    ):
        assert placement.for_weights(weights(*HALF), measure) == placement
    for others in (weights(FULL), weights(*HALF, count=1)):
        assert choose_placement("cpu").for_weights(others, measure).dtype is FULL


@pytest.fixture
def good_at_bfloat16(monkeypatch):
    """A CPU that is good at bfloat16, as far as loading asks."""
    monkeypatch.setattr(Placement.for_weights, "__defaults__", (lambda: True,))


@pytest.fixture
def large(monkeypatch):
    """Every model is large."""
    monkeypatch.setattr(placing, "MIN_WEIGHTS_FOR_BFLOAT16", 1)


@pytest.mark.usefixtures("good_at_bfloat16", "large")
@pytest.mark.parametrize("stored", HALF)
@pytest.mark.parametrize("is_converted", [False, True])
def test_a_whole_model_stored_in_half_precision_runs_in_bfloat16(tmp_path, clip, stored, is_converted):
    write_original(tmp_path / "model", dtype=stored)
    if is_converted:
        convert(tmp_path / "model", tmp_path / "converted", device="cpu")
    model = load(tmp_path / ("converted" if is_converted else "model"), device="cpu")
    assert {weight.dtype for weight in model.network.parameters()} == {torch.bfloat16}
    assert model.dtype is torch.bfloat16
    packed = model.pack(clip, model.plan(clip, Budget(num_frames=9, total_tokens=60)))
    assert packed.tokens.dtype is torch.bfloat16
    assert packed.tokens.isfinite().all()
    packed.save(tmp_path / "clip.vidzip")
    again = PackedVideo.load(tmp_path / "clip.vidzip")
    assert again.tokens.equal(packed.tokens)
    session = model.session(again)
    for question in QUESTIONS:
        assert model.ask(packed, question, 4).new_tokens > 0
        assert session.ask(question, 4).new_tokens > 0
    wide = load(tmp_path / "model", device="cpu", dtype="float32")
    assert wide.tower_fingerprint == model.tower_fingerprint
    exact = wide.pack(clip, wide.plan(clip, Budget(num_frames=9, total_tokens=60)))
    apart = (packed.tokens.float() - exact.tokens).norm(dim=-1).median()
    assert apart < 0.1 * exact.tokens.norm(dim=-1).median()


@pytest.mark.parametrize("model", ["tiny", "tiny-random", "port"])
def test_small_models_are_float32_on_every_cpu(folders, good_at_bfloat16, model):
    loaded = load(model if model in BUILT_IN else folders / model, device="cpu")
    assert {weight.dtype for weight in loaded.network.parameters()} == {FULL}


def test_what_is_stored_in_float32_stays_in_it(folders, good_at_bfloat16, large):
    assert {weight.dtype for weight in load(folders / "original", device="cpu").network.parameters()} == {FULL}


def test_loading_asks_this_machine():
    assert Placement.for_weights.__defaults__ == (is_bfloat16_fast,)
