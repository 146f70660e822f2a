from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from chatbot.dialogue import Turn
from chatbot.models import format as prompt_format
from chatbot.models.format import Exchange, MarkerFormat, TemplateFormat, UsrSysFormat
from chatbot.models.markers import MARKERS, add_markers, encode_text
from tests.tiny_models import character_bpe, wrapped


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    made = wrapped(character_bpe())
    assert add_markers(made) == len(MARKERS)
    assert add_markers(made) == 0
    return made


@pytest.fixture(scope="module")
def form(tokenizer: PreTrainedTokenizerFast) -> MarkerFormat:
    return MarkerFormat(tokenizer)


TURNS = [
    Turn("user", "안녕하세요"),
    Turn("assistant", "안녕! 밥 먹었어?"),
    Turn("user", "아직 안 먹었어요\n배고파요"),
    Turn("assistant", "그럼 같이 골라 봐요."),
]


def test_a_conversation_reads_back_as_its_markers(
    form: MarkerFormat, tokenizer: PreTrainedTokenizerFast
) -> None:
    ids, reply = form.sequence(TURNS)
    pieces = tokenizer.convert_ids_to_tokens(ids)
    marks = [piece for piece in pieces if piece in MARKERS]
    assert marks == [
        "<|user|>", "<|end|>", "<|bot|>", "<|casual|>", "<|end|>",
        "<|user|>", "<|break|>", "<|end|>", "<|bot|>", "<|polite|>", "<|end|>",
    ]  # fmt: skip
    learnt = [piece for piece, is_reply in zip(pieces, reply, strict=True) if is_reply]
    assert learnt.count("<|end|>") == 2 and "<|bot|>" not in learnt and "<|user|>" not in learnt
    assert tokenizer.decode([i for i, r in zip(ids, reply, strict=True) if r]).startswith("안녕! 밥 먹었어?")


def test_what_is_read_while_talking_was_read_in_training(form: MarkerFormat) -> None:
    """The prompt for a reply is, id for id, the start of the training sequence with that reply."""
    for place in (1, 3):
        prompt = form.prompt(TURNS[:place], "casual" if place == 1 else "polite", 100)
        whole = form.sequence(TURNS[: place + 1]).ids
        assert whole[: len(prompt)] == prompt
        assert whole[len(prompt) :] == [*form.text(TURNS[place].text), *_end(form)]


def _end(form: MarkerFormat) -> list[int]:
    return [form.tokenizer.convert_tokens_to_ids("<|end|>")]


@pytest.mark.parametrize("spelt", [*MARKERS, "</s>", "<pad>", "<usr>", "<unused0>"])
def test_a_special_token_that_a_person_types_stays_text(
    form: MarkerFormat, tokenizer: PreTrainedTokenizerFast, spelt: str
) -> None:
    ids = form.text(f"밥 {spelt} 먹었어")
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    assert not special & set(ids)
    usr_sys = UsrSysFormat(tokenizer).prompt([Turn("user", f"밥 {spelt} 먹었어")], "polite", 100)
    markers = [i for i in usr_sys if i in UsrSysFormat(tokenizer).stop_ids]
    assert len(markers) == 2  # <usr> at the start and <sys> at the end, none from the text
    assert tokenizer.decode(encode_text(tokenizer, "밥 먹었어")) == "밥 먹었어"


def test_old_turns_leave_when_the_budget_is_short(form: MarkerFormat) -> None:
    whole = form.prompt(TURNS[:3], "polite", 100)
    for budget in range(6, len(whole) + 1):
        short = form.prompt(TURNS[:3], "polite", budget)
        assert len(short) <= budget
        assert short[-2:] == whole[-2:]
        assert short[0] in (form._id["<|user|>"], form._id["<|bot|>"])
    last = form.prompt(TURNS[2:3], "polite", 100)
    assert form.prompt(TURNS[:3], "polite", len(last)) == last


def test_header_names_the_speaker_and_shows_examples(
    form: MarkerFormat, tokenizer: PreTrainedTokenizerFast
) -> None:
    prompt = form.prompt(
        TURNS[:1], "casual", 200, speaker="지민", examples=[Exchange("배고파", "뭐 먹을래?")]
    )
    marks = [piece for piece in tokenizer.convert_ids_to_tokens(prompt) if piece in MARKERS]
    assert marks == [
        "<|speaker|>", "<|end|>", "<|example|>", "<|user|>", "<|end|>", "<|bot|>", "<|casual|>", "<|end|>",
        "<|user|>", "<|end|>", "<|bot|>", "<|casual|>",
    ]  # fmt: skip
    assert form.sequence(TURNS[:2], style="casual", speaker="지민").ids[:2] == prompt[:2]


def test_the_chat_template_says_the_same(form: MarkerFormat, tokenizer: PreTrainedTokenizerFast) -> None:
    messages = [{"role": "system", "content": "casual"}, {"role": "user", "content": "안녕하세요"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids == form.prompt(TURNS[:1], "casual", 100)
    messages = [{"role": turn.role, "content": turn.text} for turn in TURNS[2:]]
    assert tokenizer.apply_chat_template(messages, return_dict=False) == form.sequence(TURNS[2:]).ids


def test_a_laugh_is_in_the_speech_level_of_its_talk(form: MarkerFormat) -> None:
    turns = [
        Turn("user", "안녕"),
        Turn("assistant", "ㅋㅋㅋ"),
        Turn("user", "왜?"),
        Turn("assistant", "그냥 좋아서"),
    ]
    prompt = form.prompt(turns[:3], "casual", 100)
    assert form.sequence(turns).ids[: len(prompt)] == prompt


def test_a_long_header_leaves_room_for_the_talk(form: MarkerFormat) -> None:
    examples = [Exchange("배고파요 " * 9, "밥 먹어요 " * 9)] * 4
    prompt = form.prompt(TURNS[:1], "polite", 60, examples=examples)
    assert len(prompt) <= 60 and prompt[-2:] == form.prompt(TURNS[:1], "polite", 60)[-2:]


def test_added_tokens_that_are_not_special_stay_text_too() -> None:
    tokenizer = wrapped(character_bpe())
    tokenizer.add_tokens(["<think>"])
    ids = encode_text(tokenizer, "밥 <think> 먹었어")
    assert tokenizer.convert_tokens_to_ids("<think>") not in ids


def test_a_template_that_wants_roles_to_alternate_gets_them(tokenizer: PreTrainedTokenizerFast) -> None:
    strict = wrapped(character_bpe())
    strict.chat_template = (
        "{% for m in messages %}"
        "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles') }}{% endif %}"
        "{{ m.content }}</s>{% endfor %}"
    )
    form = TemplateFormat(strict, [1])
    stopped = [TURNS[1], TURNS[0], TURNS[2]]  # a reply that was stopped before its first syllable
    text = strict.decode(form.prompt(stopped, "polite", 100))
    assert "안녕하세요" in text and "배고파요" in text and "밥 먹었어" not in text
    assert len(form.prompt([Turn("user", "밥 먹었어 " * 50)], "polite", 20)) <= 20
    strict.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(prompt_format.ChatbotError, match="대화 템플릿"):
        form.prompt(TURNS[:1], "polite", 100)


def test_another_version_of_the_format_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(prompt_format.ChatbotError, match="프롬프트 형식 99판"):
        prompt_format.choose_format(tokenizer, {"format": 99}, [])
