"""What the retrieval backend knows: questions and answers, read from files into entries."""

from __future__ import annotations

import csv
import gc
import hashlib
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from chatbot.datasets import FORMAT, Dataset, datasets_dir, is_dataset, open_dataset
from chatbot.dialogue import Turn
from chatbot.errors import ChatbotError
from chatbot.resources import data_dir, home_dir, private_dir, write_private
from chatbot.style import Style, speech_level
from chatbot.text import normalise, one_line, same_words

TAUGHT = "taught"
LISTENING = "listening"
MAX_PERSONAL = 100_000  # pairs of a personal dataset that are searched; a minute or two to encode


class DataError(ChatbotError):
    """A data file cannot be read; the message names the file and the line."""


@dataclass(frozen=True)
class Answers:
    """What may be said to one question, by speech level; the same tuple twice where unknown."""

    source: str
    polite: tuple[str, ...]
    casual: tuple[str, ...]

    def in_style(self, style: Style) -> tuple[str, ...]:
        """Return the answers in ``style``, or the others where there are none."""
        return (self.polite or self.casual) if style == "polite" else (self.casual or self.polite)

    def has_style(self, style: Style) -> bool:
        """Tell whether an answer in ``style`` exists."""
        return bool(self.polite if style == "polite" else self.casual)


@dataclass(frozen=True)
class Entry:
    """One indexed wording. ``context`` is the exchange before it, empty where it stands alone."""

    question: str
    answers: Answers
    context: str = ""


@dataclass(frozen=True)
class Intent:
    """A line of ``data/qa``: wordings of one thing people say, and what to answer."""

    id: str
    topic: str
    questions: tuple[str, ...]
    dev_questions: tuple[str, ...]
    test_questions: tuple[str, ...]
    answers: Answers


@dataclass(frozen=True)
class FollowUp:
    """A two-turn item: what came before, what is said now, which reply is right."""

    context: str
    question: str
    target: str


@dataclass
class Knowledge:
    """Entries to index, plus the lines that thresholds are fitted and figures are measured on.

    ``speaker`` is the person whose answers these are, ``None``: the bot's own. ``held_back`` are rows of
    entries that stand for what nobody has said yet: the validation split of a personal dataset.
    ``beside``: they are always looked up beside another knowledge base, by the weights fitted there.
    """

    name: str
    entries: list[Entry]
    fingerprint: str
    intents: list[Intent] = field(default_factory=list)
    speaker: str | None = None
    held_back: list[int] = field(default_factory=list)
    beside: bool = False

    def held_out(self, half: str) -> list[tuple[str, str]]:
        """Return ``(wording, intent id)`` of the ``"dev"`` or ``"test"`` wordings."""
        return [(text, i.id) for i in self.intents for text in getattr(i, f"{half}_questions")]

    def thinned(self, every: int) -> Knowledge:
        """Return one in ``every`` of the answers with all that leads to them: the same at 1."""
        if every == 1:
            return self
        kept = set(list(dict.fromkeys(entry.answers.source for entry in self.entries))[::every])
        return replace(
            self,
            entries=[entry for entry in self.entries if entry.answers.source in kept],
            fingerprint=f"{self.fingerprint}-{every}",
            intents=[intent for intent in self.intents if intent.id in kept],
            held_back=[],
        )


def load_knowledge(name_or_path: str | Path | None = None) -> Knowledge:
    """Load pairs: the shipped set (``None``), a dataset by name, or a CSV, JSON Lines file or folder.

    The shipped set is read once: whoever wants other entries makes a :class:`Knowledge` of his own.

    Raises:
        DataError: no such data, or a line that is not in a known form.
    """
    if name_or_path is None:
        return _load_shipped()
    dataset = personal_dataset(name_or_path)
    return _load_dataset(dataset) if dataset else _load(*_located(name_or_path))


@cache
def _load_shipped() -> Knowledge:
    return _load(*_located(None))


def personal_dataset(name_or_path: str | Path | None) -> Dataset | None:
    """Return the imported dataset of that name, ``None`` where it is a file or folder."""
    name = unicodedata.normalize("NFC", str(name_or_path or ""))
    if not name or Path(name).name != name or not is_dataset(datasets_dir() / name):
        return None
    return open_dataset(name)


def _load_dataset(dataset: Dataset) -> Knowledge:
    """Load the pairs of an imported dataset, the newest ones where there are very many."""
    raw = _read(dataset.pairs)
    rows = [row for _, row in _rows(dataset.pairs, raw)][-MAX_PERSONAL:]
    entries, held_back = [], []
    for number, row in enumerate(rows):
        try:
            question, answer = normalise(row["question"]), normalise(row["answer"])
            if row["split"] == "valid":
                held_back.append(number)
            source = f"{dataset.name} {row['time'].replace('T', ' ')[:16] or f'#{number + 1}'}"
        except (KeyError, TypeError, AttributeError) as error:
            raise _malformed(dataset.pairs, number + 1, error) from error
        # Said in this person's own manner, whatever the manner of who asks.
        entries.append(Entry(question, Answers(source, (answer,), (answer,))))
    fingerprint = hashlib.sha256(f"{FORMAT}{raw}".encode()).hexdigest()[:16]
    return Knowledge(dataset.name, entries, fingerprint, speaker=dataset.speaker, held_back=held_back)


def _located(name_or_path: str | Path | None) -> tuple[str, list[Path]]:
    """Return the name of a set of data and its files."""
    if name_or_path is None:
        return "shipped", [*_files(data_dir() / "qa"), *_files(data_dir() / "dialogues")]
    dataset = personal_dataset(name_or_path)
    if dataset:
        return dataset.name, [dataset.dialogues]
    with suppress(OSError, RuntimeError):  # too long a name, nobody's home: no file
        for path in (Path(name_or_path).expanduser(), datasets_dir() / str(name_or_path)):
            if path.exists():
                return path.stem, _files(path) if path.is_dir() else [path]
    raise DataError(f"--data '{name_or_path}': 그런 파일이나 데이터셋이 없어요. 경로를 확인해 주세요.")


def load_dialogues(name_or_path: str | Path | None = None) -> list[tuple[list[Turn], Style | None]]:
    """Load whole dialogues, each with the speech level of its replies where the data says it.

    Takes what :func:`load_knowledge` takes; the shipped dialogues are those of ``data/dialogues``.

    Raises:
        DataError: no such data, or a line that is not in a known form.
    """
    found: list[tuple[list[Turn], Style | None]] = []
    for path in _located(name_or_path)[1]:
        for line, row in read_rows(path):
            try:
                if "messages" in row:
                    turns = turns_of(row)
                    style = (row.get("meta") or {}).get("style")
                    if any(turn.role == "assistant" for turn in turns):
                        found.append((turns, style if style in ("polite", "casual") else None))
            except (KeyError, TypeError, AttributeError) as error:
                raise _malformed(path, line, error) from error
    return found


def turns_of(row: dict[str, Any]) -> list[Turn]:
    """Return the turns of a row in the messages form; anything may be raised where it is in another."""
    return [
        Turn(m["role"], normalise(m["content"]), name=m.get("name"))
        for m in row["messages"]
        if m["role"] in ("user", "assistant") and normalise(m["content"])
    ]


@cache
def load_listening() -> Knowledge:
    """Load what a good listener says: plain replies that fit whatever is much like what was said.

    The same words are one entry, with all that may be replied to them in both speech levels. Read once,
    being large: whoever wants others makes a :class:`Knowledge` of his own.
    """
    with _without_collection():
        loaded = _load(LISTENING, _files(listening_dir()))
        said: dict[tuple[str, str], list[Entry]] = {}
        for entry in loaded.entries:
            said.setdefault((entry.context, entry.question), []).append(entry)
        loaded.entries = [_together(entries) for entries in said.values()]
    loaded.beside = True
    return loaded


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pause the garbage collector: all that is made stays, and looking through it takes half the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _together(entries: Sequence[Entry]) -> Entry:
    """Return entries of the same words as one, with all their answers."""
    if len(entries) == 1:
        return entries[0]
    answers = [entry.answers for entry in entries]
    polite, casual = (
        tuple(text for each in answers for text in getattr(each, style)) for style in ("polite", "casual")
    )
    return replace(entries[0], answers=Answers(answers[0].source, polite, casual))


def listening_dir() -> Path:
    """Return the folder of the listener's lines: situations with replies, and two-turn dialogues."""
    return data_dir() / "listening"


def load_taught() -> Knowledge:
    """Load what was taught with ``/teach``; empty where nothing was."""
    path = taught_path()
    return _load(TAUGHT, [path] if path.exists() else [])


def taught_path() -> Path:
    """Return the file of taught pairs."""
    return home_dir() / "datasets" / TAUGHT / "pairs.jsonl"


def teach(question: str, answer: str) -> None:
    """Keep ``answer`` for ``question`` from now on; an older one for the same question is replaced.

    Raises:
        DataError: nothing is left to keep, or the file cannot be written.
    """
    from filelock import FileLock, Timeout

    path = taught_path()
    question, answer = normalise(question), normalise(answer)
    if not question or not answer:
        raise DataError("빈 말은 배울 수 없어요. '/teach 대답'처럼 써 주세요.")
    rows = [{"question": question, "answer": answer}]
    try:
        with FileLock(private_dir(path.parent) / "lock", timeout=10, mode=0o600):  # other talks teach, too
            if path.exists():
                key = same_words(question)
                rows = [row for row in _json_lines(path) if same_words(row["question"]) != key] + rows
            write_private(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    except Timeout as error:
        raise DataError(f"{path}: 다른 대화가 쓰고 있어요. 잠시 뒤에 다시 해 주세요.") from error
    except OSError as error:
        raise DataError(f"{path}: 쓸 수 없어요({error.strerror}). 폴더의 권한을 확인해 주세요.") from error


def follow_ups(half: str) -> list[FollowUp]:
    """Return our two-turn items of one half, ``"dev"`` or ``"test"``."""
    return [
        FollowUp(
            context_of(m["content"] for m in row["messages"][:-1]),
            row["messages"][-1]["content"],
            row["target"],
        )
        for row in _json_lines(data_dir() / "eval" / "followups.jsonl")
        if row["half"] == half
    ]


def labelled_lines(name: str, half: str) -> list[tuple[str, str]]:
    """Return ``(text, label)`` of one half of ``data/eval/NAME.jsonl``."""
    rows = _json_lines(data_dir() / "eval" / f"{name}.jsonl")
    return [(row["text"], row["label"]) for row in rows if row["half"] == half]


def held_out_dialogues(half: str) -> list[list[Turn]]:
    """Return our held-out dialogues of one half; never indexed, never trained on."""
    rows = _json_lines(data_dir() / "eval" / "dialogues.jsonl")
    return [
        [Turn(m["role"], normalise(m["content"])) for m in row["messages"]]
        for row in rows
        if row["meta"]["half"] == half
    ]


def prompts(half: str) -> list[str]:
    """Return everyday utterances of one half that no data answers, to try a generator on."""
    return [text for text, _ in labelled_lines("prompts", half)]


def context_of(utterances: Iterable[str]) -> str:
    """Join the exchange before an utterance into the one text that is compared."""
    return " ".join(utterances)


# --- reading files


def _load(name: str, files: list[Path]) -> Knowledge:
    entries: list[Entry] = []
    intents: list[Intent] = []
    pairs: dict[str, tuple[str, list[str]]] = {}
    digest = hashlib.sha256()
    for path in files:
        raw = _read(path)
        digest.update(hashlib.sha256(raw.encode()).digest())
        for line, row in _rows(path, raw):
            try:
                if "questions" in row:
                    intents.append(_intent(row))
                elif "messages" in row:
                    entries += _dialogue_entries(row, f"{path.stem}:{line}")
                else:
                    question, answer = pair_of(row)
                    pairs.setdefault(same_words(question), (question, []))[1].append(answer)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise _malformed(path, line, error) from error
    own = [Entry(q, i.answers) for i in intents for q in i.questions]
    same_answers: dict[tuple[str, ...], Answers] = {}  # questions with the same answers are one intent
    for n, (question, texts) in enumerate(pairs.values(), start=1):
        own.append(Entry(question, same_answers.setdefault(tuple(texts), _answers(f"{name}#{n}", texts))))
    if files and not (own or entries) and name != TAUGHT:
        raise DataError(f"{files[0]}: 질문과 답이 하나도 없어요. 파일 내용을 확인해 주세요.")
    # Where there are intents, they answer what opens a talk, with more wordings.
    entries = [entry for entry in entries if entry.context or not intents]
    return Knowledge(name, own + entries, digest.hexdigest()[:16], intents)


def _malformed(path: Path, line: int, error: Exception) -> DataError:
    missing = f"({error})" if isinstance(error, (KeyError, ValueError)) else ""  # others speak of Python
    return DataError(
        f"{path} {line}번째 줄: 질문과 답을 찾을 수 없어요{missing}. "
        "question·answer 열이나 messages 형식인지 확인해 주세요."
    )


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jsonl", ".csv"))
    if not files:
        raise DataError(f"{folder}: .jsonl이나 .csv 파일이 없어요. 폴더를 확인해 주세요.")
    return files


def _read(path: Path) -> str:
    """Read text as UTF-8 or, as spreadsheets save Korean CSV on Windows, CP949."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: 읽을 수 없어요({error.strerror}). 경로와 권한을 확인해 주세요.") from error
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path}: 글자를 읽을 수 없어요. UTF-8로 저장한 뒤 다시 해 주세요.")


def _rows(path: Path, raw: str) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix.lower() in (".csv", ".tsv"):
        # Tab-separated corpora do not quote; a quotation mark in them is just one.
        form: Any = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if path.suffix.lower() == ".tsv" else {}
        reader = csv.DictReader(io.StringIO(raw, newline=""), **form)
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise DataError(
                f"{path} {reader.line_num}번째 줄: CSV로 읽을 수 없어요({error}). 그 줄을 고쳐 주세요."
            ) from error
        return
    for number, line in enumerate(raw.split("\n"), start=1):  # other line ends may stand inside JSON strings
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{path} {number}번째 줄 {error.colno}번째 글자: JSON이 아니에요. 그 줄을 고쳐 주세요."
                ) from error


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a CSV, TSV or JSON Lines file with their line numbers.

    Raises:
        DataError: it cannot be read.
    """
    return _rows(path, _read(path))


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text file that say something, with their numbers.

    Raises:
        DataError: it cannot be read.
    """
    lines = enumerate(map(normalise, _read(path).split("\n")), start=1)
    return [(number, line) for number, line in lines if line]


def _json_lines(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path)]


def _intent(row: dict[str, Any]) -> Intent:
    def texts(key: str) -> tuple[str, ...]:
        return tuple(normalise(text) for text in row.get(key, ()))

    answers = {
        style: tuple(normalise(a) for a in row["answers"].get(style, ())) for style in ("polite", "casual")
    }
    if not texts("questions") or not any(answers.values()):
        raise ValueError("questions, answers")
    return Intent(
        id=row["id"],
        topic=row["topic"],
        questions=texts("questions"),
        dev_questions=texts("dev_questions"),
        test_questions=texts("test_questions"),
        answers=Answers(row["id"], **answers),
    )


def pair_of(row: dict[str, Any]) -> tuple[str, str]:
    """Return question and answer of a row; anything may be raised where it has none."""
    columns = {key.strip().lower(): value for key, value in row.items() if isinstance(key, str)}
    question = columns["question"] if "question" in columns else columns["q"]
    answer = columns["answer"] if "answer" in columns else columns["a"]
    question, answer = normalise(question), normalise(answer)
    if not question or not answer:
        raise ValueError("빈 칸")
    return question, answer


def _answers(source: str, texts: list[str]) -> Answers:
    """Sort answers of unknown speech level into both; undecided ones serve either."""
    unique = tuple(dict.fromkeys(texts))
    levels = {text: speech_level(text) for text in unique}
    return Answers(
        source,
        polite=tuple(t for t in unique if levels[t] != "casual"),
        casual=tuple(t for t in unique if levels[t] != "polite"),
    )


def _dialogue_entries(row: dict[str, Any], place: str) -> list[Entry]:
    """Return an entry for every reply, with the exchange before it as its context."""
    messages = [(turn.role, one_line(turn.text)) for turn in turns_of(row)]
    style = (row.get("meta") or {}).get("style")
    entries = []
    for i in range(1, len(messages)):
        if messages[i][0] != "assistant" or messages[i - 1][0] != "user":
            continue
        source = f"{row.get('id', place)}#{i}"
        reply = messages[i][1]
        if style is None:
            answers = _answers(source, [reply])
        else:
            answers = Answers(
                source,
                polite=(reply,) if style == "polite" else (),
                casual=(reply,) if style == "casual" else (),
            )
        context = context_of(text for _, text in messages[max(0, i - 3) : i - 1])
        entries.append(Entry(messages[i - 1][1], answers, context))
    return entries
