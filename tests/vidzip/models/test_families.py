"""Model families: which one a checkpoint belongs to, and a new one through all of the generic code."""

from __future__ import annotations

import dataclasses
import json
from typing import ClassVar

import pytest
import torch
from originals import write_original

from vidzip import Budget, Session, decode, load
from vidzip.errors import BadModelFolder, ContextTooLong
from vidzip.models import families
from vidzip.models.checkpoint import Checkpoint
from vidzip.models.families import FAMILIES, find_family
from vidzip.models.saving import save_checkpoint
from vidzip.models.video_llava import VideoLlava
from vidzip.models.video_llava_original import MODEL_TYPE, OriginalVideoLlava

QUESTIONS = ["What is shown?", "Where?", "How many red circles are there in the video?"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Separated(VideoLlava):
    """A family with layout tokens, one before the video and one after every frame, and without the CLS token."""

    title: ClassVar[str] = "the separated family (model_type 'separated')"
    sampling_policy = "linspace"
    has_cls = False

    @classmethod
    def matches(cls, checkpoint):
        return checkpoint.config.get("model_type") == "separated"

    def project(self, tokens, frame_of=None):
        projected = super().project(tokens)
        frame_of = torch.zeros(len(tokens), dtype=torch.long) if frame_of is None else frame_of
        start, separator = self.network.get_input_embeddings()(torch.tensor([5, 6]))
        parts = [start[None]]
        for frame in range(int(frame_of[-1]) + 1):
            parts += [projected[frame_of == frame], separator[None]]
        return torch.cat(parts)

    def count_visual_tokens(self, tokens_per_frame):
        return super().count_visual_tokens(tokens_per_frame) + 1 + len(tokens_per_frame)


def folder_of(model, folder, **changes):
    """Save a model as a checkpoint with a changed config."""
    save_checkpoint(folder, model.network.state_dict(), model.config, model.tokenizer, model.preprocessor)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


@pytest.fixture(scope="module")
def separated(small, tmp_path_factory):
    """A checkpoint of the new family, loaded after one line is added to the registry."""
    folder = folder_of(small, tmp_path_factory.mktemp("separated") / "model", model_type="separated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(families, "FAMILIES", (*FAMILIES, Separated))
        return load(folder, device="cpu", dtype="float32")


@pytest.fixture
def packed(separated, clip):
    return separated.pack(clip, separated.plan(clip, Budget(num_frames=8, total_tokens=40)))


def test_each_family_matches_its_own_checkpoints_alone(small, tmp_path):
    write_original(tmp_path / "original")
    folders = {
        VideoLlava: folder_of(small, tmp_path / "port"),
        OriginalVideoLlava: tmp_path / "original",
        Separated: folder_of(small, tmp_path / "separated", model_type="separated"),
    }
    converted = folder_of(small, tmp_path / "converted", model_type=MODEL_TYPE)
    assert set(FAMILIES) <= set(folders)
    for expected, folder in [*folders.items(), (OriginalVideoLlava, converted)]:
        checkpoint = Checkpoint.open(folder)
        assert [family for family in (*FAMILIES, Separated) if family.matches(checkpoint)] == [expected]
    assert len({family.title for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("model_type", ["qwen2_vl", None])
def test_an_unsupported_type_is_refused_with_the_supported_families(small, tmp_path, model_type):
    folder = folder_of(small, tmp_path / "model", model_type=model_type)
    with pytest.raises(BadModelFolder) as caught:
        find_family(Checkpoint.open(folder))
    assert repr(model_type) in caught.value.message
    assert str(folder) in caught.value.message
    assert all(family.title in caught.value.hint for family in FAMILIES)


def said(answer):
    return answer.text, answer.finish_reason, answer.new_tokens, answer.visual_tokens


def test_a_new_family_runs_through_all_of_the_generic_code(separated, small, packed, clip):
    visual_tokens = 40 + 1 + 8
    assert isinstance(separated.family, Separated)
    assert separated.sampling_policy == "linspace"
    assert separated.tokens_per_frame == 256
    features = separated.encode(decode(clip, packed.timestamps_seconds))
    expected = small.encode(decode(clip, packed.timestamps_seconds))
    assert features.cls is None
    assert features.patches.equal(expected.patches)
    assert features.scores.equal(expected.scores)
    assert packed.uncompressed_tokens == 8 * 256
    assert not packed.has_cls
    with torch.no_grad():
        visual = separated.project(packed)
        words = separated.language.embedding.weight
    assert len(visual) == visual_tokens
    assert visual[0].equal(words[5])
    assert visual[-1].equal(words[6])
    answers = [separated.ask(packed, question, 8) for question in QUESTIONS]
    assert {answer.visual_tokens for answer in answers} == {visual_tokens}
    expected = [said(answer) for answer in answers]
    session = separated.session(packed)
    assert session.visual_tokens == visual_tokens
    assert [said(session.ask(question, 8)) for question in QUESTIONS] == expected
    assert [said(answer) for answer in session.ask_many(QUESTIONS, 8)] == expected
    chat = session.chat()
    assert said(chat.ask(QUESTIONS[0], 8)) == expected[0]
    assert chat.ask(QUESTIONS[1], 8).visual_tokens == visual_tokens
    assert said(separated.session(None).ask(QUESTIONS[0], 8))[-1] == 0


def test_an_answer_is_the_networks_own_over_layout_and_visual_tokens(separated, packed):
    with torch.no_grad():
        embeds = separated.embed(packed, QUESTIONS[0])
        ids = separated.network.generate(
            inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2]), max_new_tokens=8, do_sample=False
        )
    assert embeds.shape[1] == 49 + separated.family.prompt(QUESTIONS[0]).num_tokens
    own = separated.tokenizer.decode(ids[0], skip_special_tokens=True).strip()
    assert separated.ask(packed, QUESTIONS[0], 8).text == own


def test_an_uncompressed_video_counts_its_layout_tokens(separated, clip):
    assert separated.ask_uncompressed(clip, QUESTIONS[0], 2, 2).visual_tokens == 2 * 256 + 1 + 2


def test_limits_count_layout_tokens(separated, packed):
    context = separated.config.get_text_config().max_position_embeddings
    fitting = context - 49 - separated.family.prompt(QUESTIONS[0]).num_tokens
    for video in (packed, packed.plan):
        separated.check_question(QUESTIONS[0], video, fitting)
        with pytest.raises(ContextTooLong):
            separated.check_question(QUESTIONS[0], video, fitting + 1)
    separated.check_question(QUESTIONS[0], None, fitting + 49)
    with pytest.raises(ContextTooLong):
        separated.ask(packed, QUESTIONS[0], fitting + 1)
    session = separated.session(packed)
    for ask in (session.ask, session.chat().ask, lambda question, most: session.ask_many([question], most)):
        with pytest.raises(ContextTooLong):
            ask(QUESTIONS[0], fitting + 1)


def test_gradients_reach_the_layout_tokens(separated, packed):
    words = separated.language.embedding.weight
    try:
        separated.project(packed).square().sum().backward()
        assert words.grad[[5, 6]].abs().sum(dim=1).gt(0).all()
    finally:
        separated.network.zero_grad(set_to_none=True)


def test_a_session_runs_the_visual_tokens_it_is_given(separated, packed):
    with torch.no_grad():
        visual = separated.project(packed)
    session = Session(separated.language, visual)
    assert said(session.ask(QUESTIONS[0], 8)) == said(separated.ask(packed, QUESTIONS[0], 8))
