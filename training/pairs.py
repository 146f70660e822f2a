"""What an encoder is taught with: texts that belong together, read from data of many kinds.

The kind is found from the content: question and answer, paraphrases, our intents, inference (KorNLI),
similarity scores (KorSTS).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from chatbot.chatlogs.conversations import split_at
from chatbot.datasets import Dataset
from chatbot.dialogue import Turn
from chatbot.knowledge import (
    DataError,
    Knowledge,
    load_dialogues,
    load_knowledge,
    personal_dataset,
    read_rows,
)
from chatbot.privacy import mask
from chatbot.text import normalise
from training.corpora import ParaphraseSet, sample_pairs

Kind = Literal["pairs", "paraphrases", "intents", "triplets", "scores"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Example = tuple[Any, ...]  # (anchor, positive), (anchor, positive, negative) or (text, text, score)

_PAIRS_PER_INTENT = 8
_DIGITS = re.compile(r"\s*\d+(\.\d*)?\s*")  # pandas writes 1.0
_ASKED_AT_MOST = 1000  # texts looked up in a validation
_FORMS = (
    "질문·답(question, answer), 대화(messages), 같은 뜻(a, b), "
    "추론(sentence1, sentence2, gold_label), 유사도(sentence1, sentence2, score)"
)


class Retrieval(NamedTuple):
    """Texts to find by other texts: which of ``corpus`` are right for each query."""

    right: dict[str, set[str]]
    corpus: list[str]


@dataclass
class Held:
    """What is kept from training, to steer by or to measure with."""

    retrievals: dict[Kind, Retrieval] = field(default_factory=dict)
    scores: list[tuple[str, str, float]] = field(default_factory=list)


@dataclass
class TrainingData:
    """Examples by kind, and what is held out of them."""

    train: dict[Kind, list[Example]]
    valid: Held
    test: Held
    fingerprint: str

    def texts(self) -> list[str]:
        """Return every text that is trained on, once."""
        examples = (example for kind in self.train.values() for example in kind)
        return list(dict.fromkeys(text for example in examples for text in example if isinstance(text, str)))


def load_training_data(data: Sequence[str], seed: int = 0) -> TrainingData:
    """Load imported datasets by name, files and folders.

    What a file holds is masked as an imported chat is.

    A dataset comes with its split by time; of a file the last tenths are held out; of intents their own dev
    and test questions are.

    Raises:
        DataError: no such data, a line that is not in a known form, or nothing to learn from.
    """
    parts: dict[str, dict[Kind, list[Example]]] = {
        split: defaultdict(list) for split in ("train", "valid", "test")
    }
    held = {"valid": Held(), "test": Held()}
    for name in data:
        dataset = personal_dataset(name)
        if dataset:
            for split, pair in _own_pairs(dataset):
                parts[split]["pairs"].append(pair)
            continue
        kind = _kind(Path(name).expanduser())
        if kind is not None:
            _cut(parts, kind, list(_examples(Path(name).expanduser(), kind)))
            continue
        knowledge = load_knowledge(name)
        if knowledge.intents:
            sets = [ParaphraseSet("intent", intent.questions) for intent in knowledge.intents]
            drawn = sample_pairs(sets, {"intent": _PAIRS_PER_INTENT}, seed)
            parts["train"]["intents"] += map(_masked, drawn)
            held["valid"].retrievals["intents"] = _intents(knowledge, "dev")
            held["test"].retrievals["intents"] = _intents(knowledge, "test")
        else:
            _cut(parts, "pairs", _answered(name, knowledge))
    if not any(parts["train"].values()):
        raise DataError(f"--data {', '.join(data)}: 배울 것이 하나도 없어요. 데이터를 확인해 주세요.")
    for split in ("valid", "test"):
        _hold(held[split], parts[split])
    train = {kind: parts["train"][kind] for kind in KINDS if parts["train"][kind]}
    return TrainingData(train, held["valid"], held["test"], digest(train))


def digest(rows: Any) -> str:
    """Identify data by its content: anything that JSON can hold."""
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()[:16]


def load_scores(path: Path) -> list[tuple[str, str, float]]:
    """Load the scored pairs of a file in the form of KorSTS, or of ``a``, ``b``, ``score``.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    if not path.is_file():
        raise DataError(f"--sts {path}: 그런 파일이 없어요. 경로를 확인해 주세요.")
    if _kind(path) != "scores":
        raise DataError(f"--sts {path}: 유사도 점수가 없어요. sentence1, sentence2, score 열이 있어야 해요.")
    return [(a, b, score) for a, b, score in _examples(path, "scores")]


def _own_pairs(dataset: Dataset) -> Iterator[tuple[str, Example]]:
    for line, row in read_rows(dataset.pairs):
        try:
            question, answer = normalise(row["question"]), normalise(row["answer"])
            if question and answer:
                yield row["split"], (question, answer)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{dataset.pairs} {line}번째 줄: 질문과 답이 아니에요. chatbot import로 다시 만들어 주세요."
            ) from error


def _answered(name: str, knowledge: Knowledge) -> list[Example]:
    """Return what was said and what was replied, in the order of the data."""
    dialogues = load_dialogues(name)
    if dialogues:
        return [pair for turns, _ in dialogues for pair in _replies(turns)]
    return [
        (entry.question, answer)
        for entry in knowledge.entries
        for answer in dict.fromkeys(entry.answers.polite + entry.answers.casual)
    ]


def _replies(turns: Sequence[Turn]) -> Iterator[Example]:
    for said, reply in pairwise(turns):
        if said.role == "user" and reply.role == "assistant":
            yield said.text, reply.text


def _kind(path: Path) -> Kind | None:
    """Return the kind of a file of examples; ``None`` for what :func:`load_knowledge` reads."""
    if not path.is_file():
        return None
    _, row = next(iter(read_rows(path)), (0, None))
    if row is None:  # an empty file
        return None
    known = set(row) if isinstance(row, dict) else set()
    if known & {"questions", "messages", "question", "q", "Q"} or "Question" in known:
        return None
    if not ({"a", "b"} <= known or {"sentence1", "sentence2"} <= known):
        raise DataError(f"{path}: 무슨 데이터인지 알 수 없어요. {_FORMS} 가운데 하나로 만들어 주세요.")
    if "score" in known:
        return "scores"
    label = row.get("gold_label", row.get("label"))
    return "triplets" if isinstance(label, str) and not _DIGITS.fullmatch(label) else "paraphrases"


def _examples(path: Path, kind: Kind) -> Iterator[Example]:
    """Yield the examples of a file of paraphrases, inferences or scores."""
    meant: dict[str, dict[str, str]] = {}  # of each premise, what follows from it and what contradicts it
    for line, row in read_rows(path):
        try:
            a = normalise(row["a"] if "a" in row else row["sentence1"])
            b = normalise(row["b"] if "b" in row else row["sentence2"])
            if not a or not b:
                raise ValueError("빈 칸이 있어요")
            if kind == "scores":
                yield a, b, _number(row["score"], "score")
            elif kind == "triplets":
                meant.setdefault(a, {})[str(row.get("gold_label", row.get("label")))] = b
                if {"entailment", "contradiction"} <= set(meant[a]):
                    found = meant.pop(a)
                    yield a, found["entailment"], found["contradiction"]
            elif _number(row.get("label", 1), "label") == 1:
                yield a, b
        except ValueError as error:
            raise DataError(f"{path} {line}번째 줄: {error}. 그 줄을 고쳐 주세요.") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} {line}번째 줄: 앞줄과 다른 형식이에요. 그 줄을 고쳐 주세요.") from error


def _number(cell: Any, column: str) -> float:
    """Return what a cell holds as a number; what else it holds is not told, it may be private."""
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{column} 칸이 숫자가 아니에요")
    return number


def _masked(example: Example) -> Example:
    return tuple(mask(part) if isinstance(part, str) else part for part in example)


def _cut(parts: dict[str, dict[Kind, list[Example]]], kind: Kind, examples: list[Example]) -> None:
    for number, example in enumerate(examples):
        parts[split_at(number / len(examples))][kind].append(_masked(example))


def _intents(knowledge: Knowledge, half: str) -> Retrieval:
    """Return the held-out wordings of some intents, to be found among the indexed ones of the same."""
    step = -(-len(knowledge.held_out(half)) // _ASKED_AT_MOST) or 1
    chosen = knowledge.intents[::step]
    indexed = [[mask(question) for question in intent.questions] for intent in chosen]
    right = {
        mask(asked): set(questions)
        for intent, questions in zip(chosen, indexed, strict=True)
        for asked in getattr(intent, f"{half}_questions")
    }
    return Retrieval(right, [question for questions in indexed for question in questions] if right else [])


def _hold(held: Held, parts: dict[Kind, list[Example]]) -> None:
    for kind, examples in parts.items():
        if kind == "scores":
            held.scores += _some(examples)
        elif examples:
            held.retrievals[kind] = _retrieval(_some(examples))


def _retrieval(examples: Iterable[Example]) -> Retrieval:
    right: dict[str, set[str]] = defaultdict(set)
    corpus: dict[str, None] = {}
    for anchor, *others in examples:
        right[anchor].add(others[0])
        corpus.update(dict.fromkeys(others))
    return Retrieval(dict(right), list(corpus))


def _some(examples: Sequence[Any]) -> list[Any]:
    """Return at most a thousand of them, evenly spread."""
    return list(examples[:: -(-len(examples) // _ASKED_AT_MOST) or 1])
