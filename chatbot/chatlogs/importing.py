"""``chatbot import``: exports in, a dataset out, in memory that does not grow with the export.

Messages are masked as they are read, before anything touches the disk, and staged in a SQLite file
inside the unfinished dataset: it merges files of one room and sorts what memory could not hold.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import numpy as np

from chatbot.chatlogs.conversations import Limits, Roles, Session, Split, learn_gap, pairs, sessions
from chatbot.chatlogs.message import ExportError, Message
from chatbot.chatlogs.reading import Export, open_exports
from chatbot.chatlogs.report import Report, Survey
from chatbot.datasets import FORMAT, Dataset, new_folder, open_dataset
from chatbot.errors import ChatbotError, UsageError
from chatbot.models.encoder import Progress
from chatbot.privacy import Masker

_BATCH = 5_000
# The first 80 % of the time is trained on, the next 10 % steers, the last 10 % measures.
_TRAIN, _VALID = 0.8, 0.9
_EPOCH = datetime(1970, 1, 1)
_UNKNOWN_TIME = -1

SpeakerCounts = dict[str, int]


@dataclass(frozen=True)
class Request:
    """What a person asked of an import.

    ``me`` and ``bot`` are names as the export has them; ``gap`` is in seconds, ``None`` learns it;
    ``hidden_names`` are third parties to mask.
    """

    name: str
    me: tuple[str, ...] = ()
    bot: str | None = None
    gap: float | None = None
    mask: bool = True
    hidden_names: tuple[str, ...] = ()


# Asked where the request does not say who is who: speakers with their message counts, and names under
# which such exports write their owner.
ChooseRoles = Callable[[SpeakerCounts, Sequence[str]], Roles]


@dataclass
class _Staged:
    """What is known after reading everything once."""

    speakers: list[str] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)
    times: array[int] = field(default_factory=lambda: array("q"))
    files: int = 0


def read_messages(export: Export, masker: Masker | None) -> Iterator[Message]:
    """Yield the messages of an export with personal data masked, in the speakers' names as well."""
    names: dict[str, str] = {}
    for message in export.messages():
        if masker is None:
            yield message
            continue
        if message.speaker not in names:
            names[message.speaker] = _masked_name(message.speaker, names, masker)
        yield Message(message.time, names[message.speaker], masker(message.text), message.part)


def _masked_name(speaker: str, known: dict[str, str], masker: Masker) -> str:
    """Return a speaker's name, masked where it is a telephone number or the like, and still their own."""
    masked = masker(speaker)
    if masked == speaker or masked not in known.values():
        return masked
    return next(f"{masked} {n}" for n in range(2, len(known) + 3) if f"{masked} {n}" not in known.values())


def import_exports(
    paths: Sequence[Path],
    request: Request,
    choose: ChooseRoles | None = None,
    format_name: str = "auto",
    progress: Progress | None = None,
) -> Dataset:
    """Read exports of one room into dataset ``request.name``, replacing one of that name.

    Raises:
        UsageError: a speaker is not in the export, or nobody says who is who.
        ExportError: a file cannot be read, or holds no conversation.
    """
    exports = [export for path in paths for export in open_exports(path, format_name)]
    masker = Masker(request.hidden_names) if request.mask else None

    def messages() -> Iterator[tuple[int, Message]]:
        read = 0
        for number, export in enumerate(exports):
            for message in read_messages(export, masker):
                read += 1
                if progress and read % _BATCH == 0:
                    share = (number + export.source.share_read) / len(exports)
                    progress(read, round(2 * read / max(share, 1e-6)))  # then all are gone through once more
                yield number, message

    me_words = tuple(dict.fromkeys(name for export in exports for name in export.format.me))
    with new_folder(request.name) as folder:
        source = {"files": len(paths), "formats": sorted({export.format.name for export in exports})}
        report = _build(folder, messages(), request, choose, me_words, progress)
        for export in exports:
            report.dropped.update(export.dropped)
        if masker is not None:
            report.masked.update(masker.counts)
        _write_facts(folder, request, source, report)
    return open_dataset(request.name)


def forget_speaker(dataset: Dataset, speaker: str) -> Dataset:
    """Make a dataset anew without one speaker's messages, their name masked in what others wrote.

    Raises:
        UsageError: nobody of that name is in it.
        ChatbotError: nothing to answer from would be left.
    """
    roles = dataset.facts["roles"]
    everyone = dataset.facts["report"]["speakers"]
    if speaker not in everyone:
        raise UsageError(f"--speaker '{speaker}'은(는) 없어요. {_listed(everyone)} 중에서 골라 주세요.")
    if speaker == roles["bot"] or len(everyone) <= 2:
        raise ChatbotError(
            f"'{speaker}'을(를) 빼면 대화가 남지 않아요. "
            f"chatbot data delete {dataset.name}(으)로 모두 지울 수 있어요."
        )
    me = tuple(name for name in roles["me"] if name != speaker) or tuple(
        name for name in everyone if name not in (speaker, roles["bot"])
    )
    request = Request(
        dataset.name, me, roles["bot"], dataset.facts["gap"], dataset.facts["masked"], (speaker,)
    )
    masker = Masker((speaker,))

    def messages() -> Iterator[tuple[int, Message]]:
        for message in stored_messages(dataset.messages):
            if message.speaker != speaker:
                yield 0, message._replace(text=masker(message.text))

    with new_folder(dataset.name) as folder:
        report = _build(folder, messages(), request, None, (), None)
        report.dropped.update(dataset.facts["report"]["dropped"])
        report.dropped["forgotten"] += everyone[speaker]["messages"]
        report.masked.update(dataset.facts["report"]["masked"])
        report.masked.update(masker.counts)
        _write_facts(folder, request, dataset.facts["source"], report)
    return open_dataset(dataset.name)


def masked_sample(
    paths: Sequence[Path], format_name: str = "auto", hidden_names: tuple[str, ...] = (), limit: int = 20
) -> tuple[list[tuple[Message, Message]], int]:
    """Return up to ``limit`` messages that masking changes, before and after, spread over the exports.

    Also returns how many messages were read.
    """
    masker = Masker(hidden_names)
    changed: list[tuple[Message, Message]] = []
    found = read = 0
    rng = random.Random(0)
    for path in paths:
        for export in open_exports(path, format_name):
            for before in export.messages():
                read += 1
                after = before._replace(speaker=masker(before.speaker), text=masker(before.text))
                if after == before:
                    continue
                found += 1
                if len(changed) < limit:
                    changed.append((before, after))
                elif (place := rng.randrange(found)) < limit:  # reservoir sampling
                    changed[place] = (before, after)
    return changed, read


def stored_messages(path: Path) -> Iterator[Message]:
    """Yield the messages of a dataset's ``messages.jsonl``."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            time = row["time"] and datetime.fromisoformat(row["time"])
            yield Message(time, row["speaker"], row["text"], row.get("part", 0))


def message_json(message: Message) -> dict[str, Any]:
    """Return a message with the names of its fields, ``time`` in ISO 8601 to the second."""
    time = message.time and message.time.isoformat(timespec="seconds")
    return {"time": time, "speaker": message.speaker, "text": message.text}


def _build(
    folder: Path,
    messages: Iterator[tuple[int, Message]],
    request: Request,
    choose: ChooseRoles | None,
    me_words: Sequence[str],
    progress: Progress | None,
) -> Report:
    """Fill a dataset's folder; everything but ``dataset.json``."""
    with closing(_staging(folder)) as database:
        staged = _stage(database, messages)
        if not staged.counts:
            raise ExportError("대화가 한 마디도 없어요. 대화를 다시 내보내 주세요.")
        counts = {staged.speakers[i]: n for i, n in staged.counts.most_common()}
        roles = _roles(request, counts, choose, me_words)
        _merge(database, staged, roles)
        times = np.sort(np.array(staged.times, dtype=np.float64))
        gap = request.gap or learn_gap(times[times >= 0])
        (total,) = database.execute("SELECT count(*) FROM message").fetchone()
        survey = Survey(roles, total)
        limits = Limits()

        def counted() -> Iterator[Message]:
            with _private(folder / "messages.jsonl") as file:
                for done, message in enumerate(_in_order(database, staged), start=1):
                    row = message_json(message)
                    if message.part:
                        row["part"] = message.part
                    file.write(_line(row))
                    survey.add(message)
                    if progress and done % _BATCH == 0:
                        progress(total + done, 2 * total)
                    yield message

        with _private(folder / "dialogues.jsonl") as dialogues, _private(folder / "pairs.jsonl") as answers:
            for number, session in enumerate(sessions(counted(), roles, gap, limits), start=1):
                split = _split(session, survey.read / total, times)
                if any(turn.role == "assistant" for turn in session.turns):
                    dialogues.write(_line(_dialogue(f"{request.name}-{number:06d}", session, split, roles)))
                found = list(pairs(session, limits))
                for pair in found:
                    row = {"question": pair.question, "answer": pair.answer}
                    row["time"] = pair.time.isoformat(timespec="seconds") if pair.time else ""
                    answers.write(_line({**row, "split": split}))
                survey.add_session(session, len(found), split)
    for name in ("staging.db", "staging.db-journal"):
        (folder / name).unlink(missing_ok=True)
    report = survey.report(gap, limits)
    if not report.pairs:
        raise ExportError(
            f"'{roles.bot}'이(가) 누구에게 대답한 말이 없어요. --me와 --bot을 바꾸어 다시 해 보세요."
        )
    return report


# --- staging


def _staging(folder: Path) -> sqlite3.Connection:
    """Open the database in which messages wait to be sorted; a page cache of 32 MiB, the rest on disk."""
    path = folder / "staging.db"
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(
        """
        PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;
        CREATE TABLE message (file INTEGER, part INTEGER, time INTEGER, place INTEGER, known INTEGER,
                              speaker INTEGER, text TEXT);
        """
    )
    return database


def _stage(database: sqlite3.Connection, messages: Iterator[tuple[int, Message]]) -> _Staged:
    staged = _Staged()
    numbers: dict[str, int] = {}
    last: dict[int, int] = {}

    def rows() -> Iterator[tuple[int, int, int, int, int, int, str]]:
        for file, message in messages:
            speaker = numbers.get(message.speaker)
            if speaker is None:
                speaker = numbers[message.speaker] = len(numbers)
                staged.speakers.append(message.speaker)
            staged.counts[speaker] += 1
            staged.files = max(staged.files, file + 1)
            time = _UNKNOWN_TIME if message.time is None else _seconds(message.time)
            staged.times.append(time)
            # A message without time stays behind the one before it.
            place = last[file] = time if time != _UNKNOWN_TIME else last.get(file, _UNKNOWN_TIME)
            yield file, message.part, time, place, int(time != _UNKNOWN_TIME), speaker, message.text

    database.execute("BEGIN")
    database.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?)", rows())
    database.execute("COMMIT")
    return staged


def _seconds(time: datetime) -> int:
    """Return wall-clock time as seconds since 1970, as if there were no zones."""
    return int((time - _EPOCH).total_seconds())


def _merge(database: sqlite3.Connection, staged: _Staged, roles: Roles) -> None:
    """Keep what several files share only once.

    The same words by the same speaker in the same minute are one message, but as often as the file
    that has them most often: people do send ㅋㅋ twice.
    """
    if staged.files < 2:
        return
    mine = [staged.speakers.index(name) for name in roles.me if name in staged.speakers]
    for other in mine[1:]:
        database.execute("UPDATE message SET speaker = ? WHERE speaker = ?", (mine[0], other))
    database.execute(
        """
        DELETE FROM message WHERE rowid IN (
            SELECT rowid FROM (
                SELECT rowid, file, min(file) OVER (PARTITION BY part, minute, speaker, text, nth) AS first
                FROM (
                    SELECT rowid, file, part, time / 60 AS minute, speaker, text,
                           row_number() OVER (
                               PARTITION BY file, part, time / 60, speaker, text ORDER BY rowid) AS nth
                    FROM message WHERE known
                )
            ) WHERE file > first
        )
        """
    )


def _in_order(database: sqlite3.Connection, staged: _Staged) -> Iterator[Message]:
    """Yield the messages by room, time, file and place in the file."""
    rows = database.execute("SELECT part, time, speaker, text FROM message ORDER BY part, place, file, rowid")
    for part, seconds, speaker, text in rows:
        time = None
        if seconds != _UNKNOWN_TIME:
            time = datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)
        yield Message(time, staged.speakers[speaker], text, part)


# --- who is who


def _roles(
    request: Request, counts: SpeakerCounts, choose: ChooseRoles | None, me_words: Sequence[str]
) -> Roles:
    """Return who is who, from the request, from there being two, or by asking."""
    for option, names in (("--me", request.me), ("--bot", (request.bot,) if request.bot else ())):
        for name in names:
            if name not in counts:
                raise UsageError(
                    f"{option} '{name}'은(는) 대화에 없어요. {_listed(counts)} 중에서 골라 주세요."
                )
    if request.bot is not None and request.bot in request.me:
        raise UsageError(f"--me와 --bot이 같은 사람('{request.bot}')이에요. 서로 다른 사람을 골라 주세요.")
    if len(counts) == 1:
        raise ExportError(f"말하는 사람이 '{next(iter(counts))}' 하나뿐이라 배울 대화가 없어요.")
    others = [name for name in counts if name not in request.me]
    if request.bot is not None:
        me = request.me or tuple(name for name in counts if name != request.bot)
        return Roles(me[:1] if not request.me else me, request.bot)
    if request.me and len(others) == 1:
        return Roles(request.me, others[0])
    if set(counts) == {"user", "assistant"} and not request.me:
        return Roles(("user",), "assistant")  # a file of questions and answers says it itself
    if choose is not None and not request.me:
        return choose(counts, me_words)
    option = "--bot" if request.me else "--me"
    raise UsageError(f"{option}에 누구인지 적어 주세요. 대화에 있는 사람: {_listed(counts)}")


def _listed(counts: SpeakerCounts | dict[str, Any]) -> str:
    shown = [f"{name}({n:,}마디)" if isinstance(n, int) else name for name, n in counts.items()]
    return ", ".join(shown[:20]) + (f" 외 {len(shown) - 20}명" if len(shown) > 20 else "")


# --- writing


def _split(session: Session, share_read: float, times: np.ndarray) -> Split:
    """Return the split of a whole session, by when it began or, without times, where it stands."""
    position = share_read
    if session.started is not None:
        position = float(np.searchsorted(times, _seconds(session.started))) / max(len(times), 1)
    return "train" if position < _TRAIN else "valid" if position < _VALID else "test"


def _dialogue(identifier: str, session: Session, split: Split, roles: Roles) -> dict[str, Any]:
    meta = {"split": split, "speaker": roles.bot}
    for key, time in (("started", session.started), ("ended", session.ended)):
        if time:
            meta[key] = time.isoformat(timespec="seconds")
    messages = [{"role": t.role, "name": t.name, "content": t.text} for t in session.turns]
    return {"id": identifier, "messages": messages, "meta": meta}


def _write_facts(folder: Path, request: Request, source: dict[str, Any], report: Report) -> None:
    facts = {
        "format": FORMAT,
        "name": request.name,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "roles": {"me": list(report.me), "bot": report.bot},
        "gap": request.gap,
        "masked": request.mask,
        "source": source,
        "report": report.to_json(),
    }
    with _private(folder / "dataset.json") as file:
        file.write(json.dumps(facts, ensure_ascii=False, indent=2) + "\n")


def _private(path: Path) -> IO[str]:
    """Open a new file for its owner alone."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8")


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
