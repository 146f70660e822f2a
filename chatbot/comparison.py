"""Comparing answerers: who takes part, what each said to the same words, and who was preferred."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chatbot.backends import share_options, usable_options
from chatbot.dialogue import Backend, Conversation, Reply
from chatbot.errors import UsageError
from chatbot.knowledge import DataError, pair_of, read_lines, read_rows, turns_of
from chatbot.session import Session, ask_together
from chatbot.text import normalise

if TYPE_CHECKING:
    from chatbot.style import Style

_TOGETHER = 64  # prompts answered between two reports of progress
_MODEL_OPTIONS = ("model", "encoder")  # the first that a backend takes is what NAME:MODEL means

Outcome = Literal["left", "right", "both_good", "both_bad"]


@dataclass(frozen=True)
class Contender:
    """Who takes part in a comparison: a backend with one of its models.

    ``label`` is unique and what a person wrote: ``gpt`` or ``gpt:NAME``; ``model`` is that name.
    """

    label: str
    backend: str
    model: str | None = None


@dataclass(frozen=True)
class Round:
    """One utterance and what every contender answered to it, by label.

    ``before`` is each contender's own conversation up to the utterance; ``reference`` is what a person
    answered, where the prompts say so. ``dialogue`` and ``turn`` count from 0.
    """

    question: str
    replies: Mapping[str, Reply]
    before: Mapping[str, Conversation]
    reference: str | None = None
    dialogue: int = 0
    turn: int = 0


@dataclass(frozen=True)
class Vote:
    """A judgement of two answers to one input: what was said, who stood where, which was better.

    ``text`` is the user's words, those of several turns one a line.
    """

    text: str
    left: str
    right: str
    outcome: Outcome


@dataclass(frozen=True)
class Prompt:
    """What is said to every contender, and what a person answered to it, where that is known."""

    text: str
    reference: str | None = None


def read_contenders(written: str) -> list[Contender]:
    """Read who takes part, as in ``retrieval,gpt,gpt:NAME``: what follows the first colon is the model.

    Raises:
        UsageError: fewer than two different ones.
    """
    found: dict[str, Contender] = {}
    for part in written.split(","):
        backend, _, model = (piece.strip() for piece in part.partition(":"))
        label = f"{backend}:{model}" if model else backend
        if backend:
            found.setdefault(label, Contender(label, backend, model or None))
    if len(found) < 2:
        raise UsageError("--backends에는 둘 이상을 써 주세요. 예: --backends retrieval,gpt")
    return list(found.values())


def contender_options(contenders: Sequence[Contender], **given: Any) -> list[dict[str, Any]]:
    """Return, for each contender, its model and those of the given options that its backend can use.

    Raises:
        UsageError: no such backend, it has no models to choose from, or none can use an option.
    """
    shared = share_options([contender.backend for contender in contenders], **given)
    options = [shared[c.backend] | ({_model_option(c): c.model} if c.model else {}) for c in contenders]
    for name in _MODEL_OPTIONS:
        if given.get(name) and all(own.get(name) != given[name] for own in options):
            raise UsageError(
                f"--{name} '{given[name]}': --backends에 모델이 따로 적혀 있어서 쓸 백엔드가 없어요. "
                "빼고 다시 실행해 주세요."
            )
    return options


def _model_option(contender: Contender) -> str:
    for name in _MODEL_OPTIONS:
        if usable_options(contender.backend, **{name: contender.model}):
            return name
    raise UsageError(
        f"--backends '{contender.label}': {contender.backend} 백엔드에는 고를 모델이 없어요. "
        f"'{contender.backend}'만 써 주세요."
    )


def read_prompts(path: str | Path) -> list[list[Prompt]]:
    """Read what to ask, as dialogues of one prompt or more.

    A ``.txt`` file holds one utterance a line; the rows of a JSON Lines, CSV or TSV file are dialogues in
    the messages form, whose user's turns are asked one by one, questions with their answers, or texts.

    Raises:
        DataError: it cannot be read, a row has none of these forms, or nothing is in it.
    """
    with suppress(RuntimeError):  # nobody's home: not found below
        path = Path(path).expanduser()
    path = Path(path)
    kind = path.suffix.lower()
    if kind in (".jsonl", ".csv", ".tsv"):
        found = [_dialogue(path, line, row) for line, row in read_rows(path)]
    elif kind == ".txt":
        found = [[Prompt(text)] for _, text in read_lines(path)]
    else:
        raise DataError(f"{path}: 물어볼 말의 파일은 .txt, .jsonl, .csv, .tsv 가운데 하나여야 해요.")
    if not found:
        raise DataError(f"{path}: 물어볼 말이 하나도 없어요. 한 줄에 하나씩 써 주세요.")
    return found


def prompts_of_lines(lines: Iterable[str]) -> list[list[Prompt]]:
    """Return a prompt for every line that says something.

    Raises:
        DataError: none does.
    """
    found = [[Prompt(text)] for text in map(normalise, lines) if text]
    if not found:
        raise DataError("표준 입력에 물어볼 말이 하나도 없어요. 한 줄에 하나씩 써 주세요.")
    return found


def _dialogue(path: Path, line: int, row: Any) -> list[Prompt]:
    try:
        if "messages" in row:
            turns = turns_of(row)
            after = [*turns[1:], None]
            found = [
                Prompt(turn.text, following.text if following and following.role == "assistant" else None)
                for turn, following in zip(turns, after, strict=True)
                if turn.role == "user"
            ]
        elif "text" in row:
            found = [Prompt(normalise(row["text"]))]
        else:
            found = [Prompt(*pair_of(row))]
    except (KeyError, TypeError, AttributeError, ValueError):
        found = []
    if not found or not found[0].text:
        raise DataError(
            f"{path} {line}번째 줄: 물어볼 말을 찾을 수 없어요. "
            "messages 형식이거나, text나 question·answer 칸이 있는지 확인해 주세요."
        )
    return found


def compare_prompts(
    backends: Mapping[str, Backend],
    dialogues: Sequence[Sequence[Prompt]],
    style: Style | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Round]:
    """Let every backend, by its label, answer all dialogues turn by turn, in batches; nothing is stored.

    Each goes on with what it said itself. ``seconds`` are each answer's share of its batch.
    """
    total = len(backends) * sum(map(len, dialogues))
    done = 0
    found: dict[str, list[_Heard]] = {}
    for label, backend in backends.items():
        found[label] = []
        for heard in _answers(backend, dialogues, style):
            found[label].append(heard)
            done += 1
            progress(done, total)
    rounds = []
    for together in zip(*found.values(), strict=True):
        dialogue, turn = together[0].dialogue, together[0].turn
        prompt = dialogues[dialogue][turn]
        replies = {label: heard.reply for label, heard in zip(found, together, strict=True)}
        before = {label: heard.before for label, heard in zip(found, together, strict=True)}
        rounds.append(Round(prompt.text, replies, before, prompt.reference, dialogue, turn))
    return sorted(rounds, key=lambda asked: (asked.dialogue, asked.turn))


@dataclass(frozen=True)
class _Heard:
    """One contender's answer to a turn of a dialogue."""

    dialogue: int
    turn: int
    before: Conversation
    reply: Reply


def _answers(
    backend: Backend, dialogues: Sequence[Sequence[Prompt]], style: Style | None
) -> Iterator[_Heard]:
    # Which of several answers to one question is said goes by the conversation's id: it is everybody's.
    talks = [Conversation(id=str(number), style=style) for number in range(len(dialogues))]
    sessions = [Session(backend, conversation=talk) for talk in talks]
    for turn in range(max(map(len, dialogues), default=0)):
        going_on = [n for n, prompts in enumerate(dialogues) if len(prompts) > turn]
        for first in range(0, len(going_on), _TOGETHER):
            part = going_on[first : first + _TOGETHER]
            before = [snapshot(sessions[n].conversation) for n in part]
            replies = ask_together([sessions[n] for n in part], [dialogues[n][turn].text for n in part])
            yield from map(_Heard, part, [turn] * len(part), before, replies)


def snapshot(conversation: Conversation) -> Conversation:
    """Return a conversation as it stands now; what is said later does not change it."""
    return replace(conversation, turns=list(conversation.turns), rejected=list(conversation.rejected))
