from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from tokenizers.decoders import DecodeStream

from chatbot.dialogue import Turn
from chatbot.knowledge import load_knowledge
from chatbot.models.device import number_type
from chatbot.models.generator import Generated, Generator, Sampling, _Row
from chatbot.text import compatibility_jamo
from tests.tiny_models import byte_level_bpe, tiny_gpt2, wrapped, write_kogpt2, write_ours

QUESTIONS = [entry.question for entry in load_knowledge().entries[:40]]
GREEDY = Sampling(temperature=0, max_new_tokens=24)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return Generator(str(write_ours(tmp_path_factory.mktemp("models") / "ours")), "cpu")


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """A base model whose tokens may be parts of a syllable."""
    folder = tmp_path_factory.mktemp("models") / "bytes"
    tokenizer = wrapped(byte_level_bpe())
    for role in ("bos", "eos", "unk", "pad", "mask"):
        setattr(tokenizer, f"{role}_token", "<|endoftext|>")
    tokenizer.save_pretrained(folder)
    tiny_gpt2(len(tokenizer), seed=4).save_pretrained(folder)
    return Generator(str(folder), "cpu")


def _prompts(generator: Generator, texts: list[str]) -> list[list[int]]:
    return [generator.prompt([Turn("user", text)], "casual", 24) for text in texts]


def test_a_batch_says_what_single_replies_say(ours: Generator) -> None:
    """Greedy, float32; a difference is allowed only where two scores lie within 1e-3."""
    prompts = _prompts(ours, QUESTIONS)
    assert len({len(prompt) for prompt in prompts}) > 5  # padding is needed
    together = [reply.ids for reply in ours.generate(prompts, GREEDY, batch=16)]
    alone = [ours.generate([prompt], GREEDY)[0].ids for prompt in prompts]
    different = [i for i in range(len(prompts)) if together[i] != alone[i]]
    assert len(different) <= 0.01 * len(prompts), different
    sampled = Sampling(temperature=0.9, seed=5, max_new_tokens=12)
    many = [reply.text for reply in ours.generate(prompts[:8], sampled, batch=8)]
    assert many == [ours.generate([prompt], sampled)[0].text for prompt in prompts[:8]]


def test_padding_on_the_right_would_change_replies(ours: Generator) -> None:
    """The test above can fail: it does where padding is looked at."""
    long, short = sorted(_prompts(ours, QUESTIONS), key=len)[-1], min(_prompts(ours, QUESTIONS), key=len)
    padded = torch.tensor([[*short, *[0] * (len(long) - len(short))]])
    scores = ours.model(input_ids=padded).logits[0, -1]
    alone = ours.model(input_ids=torch.tensor([short])).logits[0, -1]
    assert (scores - alone).abs().max() > 1e-2


def test_the_loop_agrees_with_the_library(ours: Generator) -> None:
    """Without any of our rules, greedy tokens are those of transformers' own ``generate``."""
    plain = Sampling(temperature=0, max_new_tokens=10, repetition_penalty=1, no_repeat_ngram=0)
    compared = 0
    for prompt in _prompts(ours, QUESTIONS[:10]):
        expected = ours.model.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=10,
            suppress_tokens=ours.suppressed, pad_token_id=0,
            eos_token_id=sorted(ours.format.stop_ids),
        )[0, len(prompt) :].tolist()  # fmt: skip
        forbidden = {*ours.format.stop_ids, ours.format.break_id}
        reply = ours.generate([prompt], plain)[0].ids
        until = next((i for i, token in enumerate(expected) if token in forbidden), len(expected))
        assert reply[:until] == expected[:until]
        compared += until
    assert compared > 20


@pytest.mark.parametrize("which", ["ours", "byte_level"])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.5])
def test_whatever_the_model_says_is_fit_to_show(
    which: str, temperature: float, request: pytest.FixtureRequest
) -> None:
    """Untrained models say anything: never nothing, never a special token or half a syllable."""
    generator: Generator = request.getfixturevalue(which)
    sampling = Sampling(temperature=temperature, max_new_tokens=20, seed=1)
    for prompt in _prompts(generator, QUESTIONS[:12]):
        reply, pieces = Generated(), []
        for piece in generator.stream(prompt, sampling, reply):
            pieces.append(piece)
        assert "".join(pieces) == reply.text
        assert reply.text and reply.text == reply.text.strip()
        assert "\ufffd" not in reply.text and unicodedata.is_normalized("NFC", reply.text)
        assert not any(token in reply.text for token in generator.tokenizer.all_special_tokens)
        assert len(reply.ids) <= 20 and (reply.ended or len(pieces) == 20)
        assert not {*generator.suppressed} & {*reply.ids}


def test_text_comes_as_tokens_are_decoded(ours: Generator) -> None:
    reply = Generated()
    pieces = list(ours.stream(_prompts(ours, ["안녕하세요"])[0], GREEDY, reply))
    assert len([piece for piece in pieces if piece]) > 5
    assert max(map(len, pieces)) <= 8  # never held back until the next space
    stream = ours.stream(_prompts(ours, ["안녕하세요"])[0], GREEDY, Generated())
    assert next(stream) == pieces[0]
    stream.close()


def test_a_syllable_of_several_tokens_is_shown_whole(byte_level: Generator) -> None:
    ids = byte_level.tokenizer("뷁쀍 안녕")["input_ids"]
    assert len(ids) > 6
    decoder = DecodeStream(skip_special_tokens=True)
    pieces = [decoder.step(byte_level.tokenizer.backend_tokenizer, token) for token in ids]
    assert None in pieces and "".join(filter(None, pieces)) == "뷁쀍 안녕"


def test_bytes_that_make_no_character_do_not_end_a_reply(ours: Generator) -> None:
    """A vocabulary with byte fallback, as Llama's: a stray byte after decoded ones."""
    tokenizer = Tokenizer(
        models.BPE({f"<0x{n:02X}>": n for n in range(256)} | {"a": 256}, [], byte_fallback=True)
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    row = _Row(ours, Generated(), torch.Generator())
    row._tokenizer = tokenizer
    for token in [*"안".encode(), 0xEC, 256, *"녕".encode()]:
        row.take(token, 0.0)
    assert row.reply.text in ("안a녕", "안녕")


@pytest.mark.parametrize("cap", [1, 2, 3])
@pytest.mark.parametrize("which", ["ours", "byte_level"])
def test_a_very_low_cap_still_leaves_a_syllable(which: str, cap: int, request: pytest.FixtureRequest) -> None:
    generator: Generator = request.getfixturevalue(which)
    sampling = Sampling(temperature=2.5, max_new_tokens=cap, seed=3)
    replies = generator.generate(_prompts(generator, QUESTIONS), sampling)
    empty = [reply for reply in replies if not reply.text.strip()]
    assert not empty


def test_a_low_cap_holds_in_a_batch_and_fits_behind_a_full_prompt(byte_level: Generator) -> None:
    """One row may need a few tokens more for its first syllable; the others stop at the cap."""
    full = [byte_level.prompt([Turn("user", text * 60)], "casual", 1) for text in QUESTIONS[:16]]
    lengths = set()
    for seed in range(8):
        sampling = Sampling(temperature=2.5, max_new_tokens=1, seed=seed)
        together = byte_level.generate(full, sampling)
        assert [r.ids for r in together] == [
            byte_level.generate([prompt], sampling)[0].ids for prompt in full
        ]
        lengths |= {len(reply.ids) for reply in together}
    assert 1 in lengths and max(lengths) > 1  # both kinds of row were there


def test_a_model_that_wants_to_end_at_once_still_says_something(ours: Generator) -> None:
    end = next(iter(ours.format.stop_ids))
    with _favouring(ours, end):
        reply = ours.generate(_prompts(ours, ["안녕"]), GREEDY)[0]
    assert reply.ended and len(reply.ids) >= 1 and reply.text


def test_a_model_that_goes_round_is_stopped(ours: Generator) -> None:
    token = ours.tokenizer("밥", add_special_tokens=False)["input_ids"][-1]
    with _favouring(ours, token):
        reply = ours.generate(_prompts(ours, ["안녕"]), GREEDY)[0]
    windows = [tuple(reply.ids[i : i + 4]) for i in range(len(reply.ids) - 3)]
    assert len(windows) == len(set(windows))


class _favouring:
    """Let the model want one token above all."""

    def __init__(self, generator: Generator, token: int) -> None:
        self.generator, self.token = generator, token

    def __enter__(self) -> None:
        original = self.generator._forward

        def forward(*args: object) -> tuple[torch.Tensor, object]:
            scores, past = original(*args)  # type: ignore[arg-type]
            scores = scores.clone()
            scores[:, self.token] = scores.max() + 30
            return scores, past

        self.generator._forward = forward  # type: ignore[assignment,method-assign]

    def __exit__(self, *_: object) -> None:
        del self.generator._forward  # type: ignore[method-assign]


def test_seed_temperature_and_top_p_do_what_they_say(ours: Generator) -> None:
    prompt = _prompts(ours, ["오늘 뭐 먹지"])[0]

    def say(**options: float | int) -> str:
        return ours.generate([prompt], Sampling(max_new_tokens=10, **options))[0].text  # type: ignore[arg-type]

    hot = {"temperature": 2.0, "top_p": 1.0}
    assert say(seed=1, **hot) == say(seed=1, **hot)
    assert len({say(seed=seed, **hot) for seed in range(6)}) > 1
    assert say(seed=1, temperature=0) == say(seed=2, temperature=0)
    assert say(seed=1, temperature=2.0, top_p=1e-6) == say(seed=1, temperature=0)
    assert len(ours.generate([prompt], Sampling(max_new_tokens=3))[0].ids) <= 3


def test_prompts_leave_room_for_the_reply(ours: Generator) -> None:
    turns = [Turn("user", "안녕하세요 " * 100)]
    for wanted in (1, 24, 64, 4000):
        prompt = ours.prompt(turns, "polite", wanted)
        assert len(prompt) + ours.room(wanted) <= ours.context_length
    assert ours.generate([ours.prompt(turns, "polite", 4000)], Sampling(max_new_tokens=4000))[0].text


def test_a_base_model_is_stopped_at_the_end_of_its_line(tmp_path: Path, byte_level: Generator) -> None:
    assert byte_level.format.stop_text == "\n" and "기본 모델" in byte_level.notes[-1]
    assert "<usr>" in Generator(str(write_kogpt2(tmp_path / "k")), "cpu").notes[-1]
    for prompt in _prompts(byte_level, QUESTIONS[:5]):
        sampling = Sampling(temperature=1.5, seed=2, max_new_tokens=20)
        assert "\n" not in byte_level.generate([prompt], sampling)[0].text


def test_number_type_is_what_the_device_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert number_type("cpu") is torch.float32 and number_type("mps") is torch.float32
    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        answer: Callable[..., bool] = lambda including_emulation, native=native: native  # noqa: E731
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", answer)
        assert number_type("cuda") is expected


def test_jamo_that_models_write_become_those_that_people_type() -> None:
    assert compatibility_jamo("\u110f\u110f\u1172 \u11a8") == "ㅋㅋㅠ ㄱ"
    assert compatibility_jamo("안녕ㅋㅋ") == "안녕ㅋㅋ"
