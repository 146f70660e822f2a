"""The prompt format: the one place that training and inference share.

Everything is built from ids, never from one long string: text is tokenised by itself, markers are
added as ids. So a person who types ``<|end|>`` gets it as ordinary text, and what the model reads
while talking is, id for id, what it read in training.

Version 1, a conversation::

    <|user|> 안녕 <|end|> <|bot|> <|casual|> 안녕! 뭐 해? <|end|> <|user|> 그냥 <|break|> 쉬어 <|end|> ...

before it, where there are any, the speaker to imitate (``<|speaker|> 지민 <|end|>``) and examples,
each an exchange of its own behind ``<|example|>``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from jinja2 import TemplateError

from chatbot.dialogue import Turn
from chatbot.errors import ChatbotError
from chatbot.models.markers import (
    BOT,
    BREAK,
    END,
    EXAMPLE,
    SPEAKER,
    STYLE_WISH,
    STYLES,
    USER,
    defused,
    encode_text,
    marker_ids,
)
from chatbot.style import Style, speech_level

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VERSION = 1

_SPEAKER_WISH = "{}의 말투로 대답하세요."


class Sequenced(NamedTuple):
    """A conversation as ids; ``reply`` is true where the bot's words and their end stand."""

    ids: list[int]
    reply: list[bool]


class Exchange(NamedTuple):
    """A question and its answer, shown to the model as an example."""

    question: str
    answer: str


def as_turns(examples: Sequence[Exchange]) -> list[Turn]:
    """Return examples as the turns of an earlier talk."""
    return [
        turn
        for example in examples
        for turn in (Turn("user", example.question), Turn("assistant", example.answer))
    ]


class Format(Protocol):
    """How a conversation becomes the prompt of one kind of model.

    ``stop_ids`` end a reply, and so does ``stop_text`` where it is not empty; ``break_id`` stands
    for a line break inside one. ``note`` says what a person should know about the model.
    """

    stop_ids: frozenset[int]
    stop_text: str
    break_id: int | None
    note: str

    def prompt(
        self,
        turns: Sequence[Turn],
        style: Style,
        budget: int,
        *,
        speaker: str | None = None,
        examples: Sequence[Exchange] = (),
    ) -> list[int]:
        """Return at most ``budget`` ids: the last turns that fit, and the opening of a reply.

        ``speaker`` is the persona to answer as, where the format can name one; ``examples`` are shown
        before, the first of them left out first where there is no room.
        """
        ...

    def reply(self, text: str) -> list[int]:
        """Return the ids that a model which answers ``text`` would generate, the end included."""
        ...


class TrainableFormat(Format, Protocol):
    """A format that a model can be taught in."""

    tokenizer: PreTrainedTokenizerFast

    def sequences(
        self,
        turns: Sequence[Turn],
        longest: int,
        *,
        style: Style | None = None,
        speaker: str | None = None,
        examples: Sequence[Exchange] = (),
    ) -> Iterator[Sequenced]:
        """Yield a conversation as it is trained on, in pieces of at most ``longest`` ids.

        ``style`` is the speech level of every reply, by default the one each shows; ``examples`` are shown
        before and not learnt.
        """
        ...


class MarkerFormat:
    """Our own format, version 1.

    A model that has not learnt what the example marker means is shown examples as earlier exchanges.
    """

    stop_text = ""
    note = ""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, knows_examples: bool = True) -> None:
        self.tokenizer = tokenizer
        self._knows_examples = knows_examples
        self._id = marker_ids(tokenizer)
        ends = {self._id[END], tokenizer.eos_token_id}
        self.stop_ids = frozenset(i for i in ends if i is not None)
        self._break = self._id[BREAK]
        self.break_id: int | None = self._break

    def prompt(
        self,
        turns: Sequence[Turn],
        style: Style,
        budget: int,
        *,
        speaker: str | None = None,
        examples: Sequence[Exchange] = (),
    ) -> list[int]:
        """Return at most ``budget`` ids: header, the last turns that fit, the opening of a reply."""
        if not self._knows_examples:
            turns, examples = [*as_turns(examples), *turns], ()
        header = self._fitting_header(speaker, style, examples, budget // 2)
        opening = [self._id[BOT], self._id[STYLES[style]]]
        room = budget - len(header) - len(opening)
        said = [self.turn(turn.role, turn.text, speech_level(turn.text) or style).ids for turn in turns]
        return header + _last_that_fit(said, room, keep=1) + opening

    def reply(self, text: str) -> list[int]:
        """Return a reply as it is generated: its words and the end marker."""
        return [*self.text(text), self._id[END]]

    def sequence(
        self, turns: Sequence[Turn], *, style: Style | None = None, speaker: str | None = None
    ) -> Sequenced:
        """Return a whole conversation as it is trained on.

        ``style`` is the speech level of every reply; without it each carries the one it shows, and
        one that shows none (``ㅋㅋ``) that of the first which does.
        """
        return self._joined(self._header(speaker, style or "polite", ()), self._parts(turns, style))

    def sequences(
        self,
        turns: Sequence[Turn],
        longest: int,
        *,
        style: Style | None = None,
        speaker: str | None = None,
        examples: Sequence[Exchange] = (),
    ) -> Iterator[Sequenced]:
        """Yield a conversation as :meth:`sequence` gives it, in pieces of at most ``longest`` ids.

        Each begins with the examples and a user's turn, where there is one, and holds a reply. Of a turn that
        takes more than half of a piece, a user's loses its beginning, as while talking, and a reply its end.
        """
        header = self._fitting_header(speaker, style or "polite", examples, longest // 2)
        room = (longest - len(header)) // 2
        piece: list[Sequenced] = []
        for turn, whole in zip(turns, self._parts(turns, style), strict=True):
            ids, reply = whole
            if len(ids) > room and turn.role == "user":
                ids, reply = ids[:1] + ids[1 - room :], reply[:room]
            part = Sequenced(ids[:room], reply[:room])
            if piece and len(header) + sum(len(p.ids) for p in [*piece, part]) > longest:
                if any(any(p.reply) for p in piece):
                    yield self._joined(header, piece)
                piece = [] if turn.role == "user" else piece[-1:]
            piece.append(part)
        if any(any(p.reply) for p in piece):
            yield self._joined(header, piece)

    def _parts(self, turns: Sequence[Turn], style: Style | None) -> list[Sequenced]:
        shown = [speech_level(turn.text) if turn.role == "assistant" else None for turn in turns]
        usual: Style = next(filter(None, shown), "polite")
        return [
            self.turn(turn.role, turn.text, style or level or usual)
            for turn, level in zip(turns, shown, strict=True)
        ]

    @staticmethod
    def _joined(header: list[int], parts: Sequence[Sequenced]) -> Sequenced:
        ids = header + [i for part in parts for i in part.ids]
        return Sequenced(ids, [False] * len(header) + [r for part in parts for r in part.reply])

    def turn(self, role: Literal["user", "assistant"], text: str, style: Style) -> Sequenced:
        """Return one turn; a reply carries ``style``."""
        words = self.text(text)
        if role == "user":
            ids = [self._id[USER], *words, self._id[END]]
            return Sequenced(ids, [False] * len(ids))
        ids = [self._id[BOT], self._id[STYLES[style]], *words, self._id[END]]
        return Sequenced(ids, [False, False, *[True] * (len(words) + 1)])

    def text(self, text: str) -> list[int]:
        """Return text as ids, line breaks as the break marker."""
        ids: list[int] = []
        for line in filter(None, map(str.strip, text.split("\n"))):
            ids += ([self._break] if ids else []) + encode_text(self.tokenizer, line)
        return ids

    def _fitting_header(
        self, speaker: str | None, style: Style, examples: Sequence[Exchange], room: int
    ) -> list[int]:
        """Return the header with as many of the last examples as ``room`` holds."""
        header = self._header(speaker, style, examples)
        while examples and len(header) > room:
            examples = examples[1:]
            header = self._header(speaker, style, examples)
        return header

    def _header(self, speaker: str | None, style: Style, examples: Sequence[Exchange]) -> list[int]:
        ids: list[int] = []
        if speaker:
            ids += [self._id[SPEAKER], *self.text(speaker), self._id[END]]
        for example in examples:
            ids.append(self._id[EXAMPLE])
            ids += self.turn("user", example.question, style).ids
            ids += self.turn("assistant", example.answer, style).ids
        return ids


class TemplateFormat:
    """The chat template that came with the model."""

    stop_text = ""
    note = ""
    break_id: int | None = None

    def __init__(self, tokenizer: PreTrainedTokenizerFast, stop_ids: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.stop_ids = frozenset(stop_ids)

    def prompt(
        self,
        turns: Sequence[Turn],
        style: Style,
        budget: int,
        *,
        speaker: str | None = None,
        examples: Sequence[Exchange] = (),
    ) -> list[int]:
        """Return the template filled with the last turns that fit ``budget``; examples are earlier ones."""
        messages: list[dict[str, str]] = []
        for turn in [*as_turns(examples), *turns]:
            # A template mixes text and markers in one string, and many want the roles to alternate.
            text = defused(self.tokenizer, turn.text)
            if messages and messages[-1]["role"] == turn.role:
                messages[-1]["content"] += f"\n{text}"
            elif messages or turn.role == "user":
                messages.append({"role": turn.role, "content": text})
        while True:
            ids = self._opened(messages, style, speaker)
            if len(ids) <= budget:
                return ids
            if len(messages) > 2:
                messages = messages[2:]
            elif len(messages[-1]["content"]) > 1:
                text = messages[-1]["content"]
                messages[-1]["content"] = text[len(text) // 2 :]
            else:
                return ids[-budget:]

    def reply(self, text: str) -> list[int]:
        """Return a reply as it is generated."""
        return encode_text(self.tokenizer, text) + self._end

    def sequences(
        self,
        turns: Sequence[Turn],
        longest: int,
        *,
        style: Style | None = None,
        speaker: str | None = None,
        examples: Sequence[Exchange] = (),
    ) -> Iterator[Sequenced]:
        """Yield every reply by itself behind the prompt it answers, id for id as it is asked while talking.

        Templates rewrite earlier turns (they drop thoughts, say), so one text for all replies would not do.
        """
        for place, turn in enumerate(turns):
            if turn.role == "assistant" and any(t.role == "user" for t in turns[:place]):
                reply = self.reply(turn.text)[: longest // 2]
                level = style or speech_level(turn.text) or "polite"
                room = longest - len(reply)
                prompt = self.prompt(turns[:place], level, room, speaker=speaker, examples=examples)
                yield Sequenced(prompt + reply, [False] * len(prompt) + [True] * len(reply))

    @cached_property
    def _end(self) -> list[int]:
        """What the template itself puts behind a reply, of the ids that end one."""
        said = [{"role": "user", "content": "안녕"}, {"role": "assistant", "content": "안녕"}]
        try:
            whole = self._filled(said, add_generation_prompt=False)
        except TemplateError:
            whole = []
        return [i for i in whole if i in self.stop_ids][-1:] or sorted(self.stop_ids)[:1]

    def _opened(self, messages: list[dict[str, str]], style: Style, speaker: str | None) -> list[int]:
        """Fill the template up to the reply, the speech level as a system message where it takes one."""
        wish = STYLE_WISH[style] + (f" {_SPEAKER_WISH.format(speaker)}" if speaker else "")
        for offered in ([{"role": "system", "content": wish}, *messages], messages):
            try:
                return self._filled(offered, add_generation_prompt=True)
            except TemplateError as error:
                problem = error
        raise ChatbotError(
            "이 모델의 대화 템플릿으로는 대화를 적을 수 없어요. 다른 모델을 골라 주세요."
        ) from problem

    def _filled(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> list[int]:
        ids: Any = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=add_generation_prompt, return_dict=False
        )
        return list(ids)


class UsrSysFormat:
    """``<usr>`` question ``<sys>`` answer ``</s>``, as KoGPT-2 chatbots were commonly trained."""

    stop_text = ""
    break_id: int | None = None
    note = (
        "이 체크포인트에는 대화 형식이 적혀 있지 않아 <usr>, <sys> 형식으로 말을 걸어요. "
        "대화를 배우지 않은 기본 모델이라면 엉뚱하게 이어 쓸 수 있고 말투도 따르지 못하니, "
        "먼저 대화로 학습시켜 주세요."
    )

    def __init__(self, tokenizer: PreTrainedTokenizerFast, stop_ids: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        known = tokenizer.get_vocab()
        self._id = {name: known[name] for name in ("<usr>", "<sys>")}
        self._end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else list(stop_ids)[:1]
        # The next question begins where the answer is over.
        self.stop_ids = frozenset([*self._end, *stop_ids, *self._id.values()])

    def prompt(
        self,
        turns: Sequence[Turn],
        style: Style,
        budget: int,
        *,
        speaker: str | None = None,
        examples: Sequence[Exchange] = (),
    ) -> list[int]:
        """Return the last turns that fit ``budget``, each behind its marker; examples are earlier ones."""
        said = [self._turn(turn) for turn in [*as_turns(examples), *turns]]
        return [*_last_that_fit(said, budget - 1, keep=1), self._id["<sys>"]]

    def reply(self, text: str) -> list[int]:
        """Return a reply as it is generated."""
        return encode_text(self.tokenizer, text) + self._end

    def _turn(self, turn: Turn) -> list[int]:
        words = encode_text(self.tokenizer, turn.text)
        if set(words) & self.stop_ids:  # a vocabulary where the markers are ordinary pieces
            words = encode_text(self.tokenizer, turn.text.replace("<", "< "))
        if turn.role == "user":
            return [self._id["<usr>"], *words]
        return [self._id["<sys>"], *words, *self._end]


class PlainFormat:
    """Lines of a script, for models that know nothing but text."""

    break_id: int | None = None
    stop_text = "\n"
    note = (
        "대화를 배우지 않은 기본 모델로 보여요. 글을 이어 쓸 뿐이라 대답이 엉뚱하고 말투도 따르지 못하니, "
        "먼저 대화로 학습시켜 주세요."
    )

    def __init__(self, tokenizer: PreTrainedTokenizerFast, stop_ids: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.stop_ids = frozenset(stop_ids)
        line_end = [i for i in encode_text(tokenizer, "\n") if i != tokenizer.unk_token_id]
        self._line_end = line_end or sorted(self.stop_ids)  # a character BPE may have no line break

    def prompt(
        self,
        turns: Sequence[Turn],
        style: Style,
        budget: int,
        *,
        speaker: str | None = None,
        examples: Sequence[Exchange] = (),
    ) -> list[int]:
        """Return the last turns that fit ``budget`` as a script; examples are earlier ones."""
        names = {"user": "나", "assistant": "너"}
        said = [
            [*encode_text(self.tokenizer, f"{names[turn.role]}: {turn.text}"), *self._line_end]
            for turn in [*as_turns(examples), *turns]
        ]
        opening = encode_text(self.tokenizer, "너:")
        return _last_that_fit(said, budget - len(opening), keep=0) + opening

    def reply(self, text: str) -> list[int]:
        """Return a reply as it is generated: a line of the script."""
        return encode_text(self.tokenizer, text) + self._line_end


def choose_format(tokenizer: PreTrainedTokenizerFast, description: dict, stop_ids: Sequence[int]) -> Format:
    """Return the format a checkpoint was trained in; ``description`` is its ``chatbot.json``.

    Raises:
        ChatbotError: it was made by a version of this project with another format.
    """
    if "format" in description:
        if description["format"] != VERSION:
            raise ChatbotError(
                f"프롬프트 형식 {description['format']}판으로 학습된 모델이에요. 이 chatbot은 {VERSION}판만 "
                "읽을 수 있으니 chatbot을 새로 설치하거나 모델을 다시 학습시켜 주세요."
            )
        return MarkerFormat(tokenizer, knows_examples=bool(description.get("knows_examples")))
    if tokenizer.chat_template:
        return TemplateFormat(tokenizer, stop_ids)
    known = tokenizer.get_vocab()
    if "<usr>" in known and "<sys>" in known:
        return UsrSysFormat(tokenizer, stop_ids)
    return PlainFormat(tokenizer, stop_ids)


def _last_that_fit(turns: Sequence[list[int]], room: int, keep: int) -> list[int]:
    """Join as many of the last turns as fit; of a last turn that is too long, its end.

    ``keep`` ids at the start of that turn (its marker) stay in any case.
    """
    last = turns[-1]
    if len(last) > room:
        return last[:keep] + last[len(last) - max(room - keep, 0) :]
    fitting = 1
    total = len(last)
    for turn in reversed(turns[:-1]):
        total += len(turn)
        if total > room:
            break
        fitting += 1
    return [i for turn in turns[len(turns) - fitting :] for i in turn]
