"""``chatbot import``: exports in, a dataset out, in memory that does not grow with the export.

Messages are masked as they are read, before anything touches the disk, and staged in a SQLite file
inside the unfinished dataset: it merges files of one room and sorts what memory could not hold.
"""

from __future__ import annotations

import json
import random
import sqlite3
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from chatbot.chatlogs.conversations import (
    Limits,
    Roles,
    Session,
    Split,
    learn_gap,
    pairs,
    sessions,
    split_at,
)
from chatbot.chatlogs.message import ExportError, Message
from chatbot.chatlogs.reading import open_exports
from chatbot.chatlogs.report import Report, Survey
from chatbot.datasets import FORMAT, Dataset, new_folder, open_dataset
from chatbot.errors import ChatbotError, UsageError
from chatbot.models.encoder import Progress
from chatbot.privacy import Masker
from chatbot.resources import open_private

_BATCH = 5_000
_EPOCH = datetime(1970, 1, 1)
_UNKNOWN_TIME = -1
_STAGING = "staging.db"

SpeakerCounts = dict[str, int]


@dataclass(frozen=True)
class Request:
    """What a person asked of an import.

    ``me`` and ``bot`` are names as the export has them, or as they are masked; ``gap`` is in seconds,
    ``None`` learns it; ``hidden_names`` are third parties to mask.
    """

    name: str
    me: tuple[str, ...] = ()
    bot: str | None = None
    gap: float | None = None
    mask: bool = True
    hidden_names: tuple[str, ...] = ()


# Asked where the request does not say who is who: speakers with their message counts, names under which
# such exports write their owner, and who "me" is if that was said.
ChooseRoles = Callable[[SpeakerCounts, Sequence[str], tuple[str, ...]], Roles]


@dataclass
class _Staged:
    """What is known after reading everything once."""

    speakers: list[str] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)
    times: array[int] = field(default_factory=lambda: array("q"))
    files: int = 0


class Masking:
    """Masks messages and the names of their speakers, the same name the same way in every file.

    Args:
        masker: masks texts; ``None`` leaves everything as it is.
    """

    def __init__(self, masker: Masker | None) -> None:
        self._masker = masker
        self._names: dict[str, str] = {}

    def message(self, message: Message) -> Message:
        """Return a message masked."""
        if self._masker is None:
            return message
        return message._replace(speaker=self.name(message.speaker), text=self._masker(message.text))

    def name(self, speaker: str) -> str:
        """Return a name, masked where it is a telephone number or the like, and still its owner's alone."""
        if self._masker is None:
            return speaker
        if speaker not in self._names:
            masked = unique = self._masker(speaker)
            taken = set(self._names.values())
            number = 2
            while unique in taken:
                unique, number = f"{masked} {number}", number + 1
            self._names[speaker] = unique
        return self._names[speaker]

    def known(self, speaker: str) -> str:
        """Return what a name was masked as, itself where it was not met."""
        return self._names.get(speaker, speaker)


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
    masking = Masking(masker)

    def messages() -> Iterator[tuple[int, Message]]:
        read = 0
        for number, export in enumerate(exports):
            for message in export.messages():
                read += 1
                if progress and read % _BATCH == 0:
                    share = (number + export.source.share_read) / len(exports)
                    progress(read, round(2 * read / max(share, 1e-6)))  # then all are gone through once more
                # Rooms that a file numbers are its own; what it does not number is the one room of all.
                part = message.part and (number << 32) + message.part
                yield number, masking.message(message)._replace(part=part)

    owner = tuple(dict.fromkeys(name for export in exports for name in export.format.me))
    with new_folder(request.name) as folder:
        report = _build(folder, messages(), request, masking, choose, owner, progress)
        for export in exports:
            report.dropped.update(export.dropped)
        if masker is not None:
            report.masked.update(masker.counts)
        source = {"files": len(paths), "formats": sorted({export.format.name for export in exports})}
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
    nothing_left = ChatbotError(
        f"'{speaker}'을(를) 빼면 대화가 남지 않아요. "
        f"chatbot data delete {dataset.name}(으)로 모두 지울 수 있어요."
    )
    if speaker == roles["bot"]:
        raise nothing_left
    # Of several names for oneself one is left in what is stored.
    me = tuple(name for name in roles["me"] if name != speaker and name in everyone)
    request = Request(dataset.name, me, roles["bot"], dataset.facts["gap"], dataset.facts["masked"])
    # A label is no name, and one syllable is part of too many words.
    names = [speaker] if len(speaker) > 1 and not speaker.startswith("[") else []
    masker = Masker(names, names_only=not dataset.facts["masked"])

    def messages() -> Iterator[tuple[int, Message]]:
        part, room, hole = 0, 0, False
        for message in stored_messages(dataset.messages):
            if message.speaker == speaker:
                hole = True
                continue
            if hole or message.part != room:  # nobody answered across what is gone
                part, room, hole = part + 1, message.part, False
            yield 0, message._replace(text=masker(message.text), part=part)

    with new_folder(dataset.name) as folder:
        try:
            report = _build(folder, messages(), request, Masking(None), None, (), None)
        except ExportError as error:
            raise nothing_left from error
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
    masking = Masking(Masker(hidden_names))
    changed: list[tuple[Message, Message]] = []
    found = read = 0
    rng = random.Random(0)
    for path in paths:
        for export in open_exports(path, format_name):
            for before in export.messages():
                read += 1
                after = masking.message(before)
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
    masking: Masking,
    choose: ChooseRoles | None,
    owner: Sequence[str],
    progress: Progress | None,
) -> Report:
    """Fill a dataset's folder; everything but ``dataset.json``."""
    with _disk_errors(folder), closing(_staging(folder)) as database:
        staged = _stage(database, messages)
        if not staged.counts:
            raise ExportError("대화가 한 마디도 없어요. 대화를 다시 내보내 주세요.")
        counts = {staged.speakers[i]: n for i, n in staged.counts.most_common()}
        roles = _roles(request, masking, counts, choose, owner)
        _merge(database, staged, roles)
        times = np.sort(np.array(staged.times, dtype=np.float64))
        gap = request.gap or learn_gap(times[times >= 0])
        (total,) = database.execute("SELECT count(*) FROM message").fetchone()
        survey = Survey(roles, total)
        limits = Limits()

        def counted() -> Iterator[Message]:
            with open_private(folder / "messages.jsonl") as file:
                for done, message in enumerate(_in_order(database, staged), start=1):
                    row = message_json(message)
                    if message.part:
                        row["part"] = message.part
                    file.write(_line(row))
                    survey.add(message)
                    if progress and done % _BATCH == 0:
                        progress(total + done, 2 * total)
                    yield message

        with (
            open_private(folder / "dialogues.jsonl") as dialogues,
            open_private(folder / "pairs.jsonl") as answers,
        ):
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
    (folder / _STAGING).unlink()
    report = survey.report(gap, limits)
    if not report.pairs:
        raise ExportError(
            f"'{roles.bot}'이(가) 누구에게 대답한 말이 없어요. --me와 --bot을 바꾸어 다시 해 보세요."
        )
    return report


# --- staging


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise ChatbotError(
            f"{folder.parent}: 쓸 수 없어요({error}). 디스크가 찼는지 확인해 주세요."
        ) from error


def _staging(folder: Path) -> sqlite3.Connection:
    """Open the database in which messages wait to be sorted; a page cache of 32 MiB, the rest on disk."""
    path = folder / _STAGING
    open_private(path).close()
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(
        """
        PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;
        CREATE TABLE message (file INTEGER, part INTEGER, time INTEGER, place INTEGER,
                              speaker INTEGER, text TEXT);
        """
    )
    return database


def _stage(database: sqlite3.Connection, messages: Iterator[tuple[int, Message]]) -> _Staged:
    staged = _Staged()
    numbers: dict[str, int] = {}
    last: dict[int, int] = {}

    def rows() -> Iterator[tuple[int, int, int, int, int, str]]:
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
            yield file, message.part, time, place, speaker, message.text

    database.execute("BEGIN")
    database.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?)", rows())
    database.execute("COMMIT")
    return staged


def _seconds(time: datetime) -> int:
    """Return wall-clock time as seconds since 1970, as if there were no zones."""
    return int((time - _EPOCH).total_seconds())


def _merge(database: sqlite3.Connection, staged: _Staged, roles: Roles) -> None:
    """Give everybody one name, and keep what several files share only once.

    The same words by the same speaker in the same minute are one message, but as often as the file
    that has them most often: people do send ㅋㅋ twice.
    """
    mine = [staged.speakers.index(name) for name in roles.me]
    for other in mine[1:]:
        database.execute("UPDATE message SET speaker = ? WHERE speaker = ?", (mine[0], other))
    if staged.files < 2:
        return
    database.execute(
        """
        DELETE FROM message WHERE rowid IN (
            SELECT rowid FROM (
                SELECT rowid, file, min(file) OVER (PARTITION BY part, minute, speaker, text, nth) AS first
                FROM (
                    SELECT rowid, file, part, time / 60 AS minute, speaker, text,
                           row_number() OVER (
                               PARTITION BY file, part, time / 60, speaker, text ORDER BY rowid) AS nth
                    FROM message WHERE time != ?
                )
            ) WHERE file > first
        )
        """,
        (_UNKNOWN_TIME,),
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
    request: Request,
    masking: Masking,
    counts: SpeakerCounts,
    choose: ChooseRoles | None,
    owner: Sequence[str],
) -> Roles:
    """Return who is who, from the request, from there being two, or by asking."""
    given = {"--me": request.me, "--bot": () if request.bot is None else (request.bot,)}
    found: dict[str, tuple[str, ...]] = {}
    for option, names in given.items():
        found[option] = tuple(masking.known(unicodedata.normalize("NFC", name)) for name in names)
        for name, wanted in zip(names, found[option], strict=True):
            if wanted not in counts:
                raise UsageError(
                    f"{option} '{name}'은(는) 대화에 없어요. {_listed(counts)} 중에서 골라 주세요."
                )
    me, bot = found["--me"], next(iter(found["--bot"]), None)
    if bot in me:
        raise UsageError(f"--me와 --bot이 같은 사람('{bot}')이에요. 서로 다른 사람을 골라 주세요.")
    if len(counts) == 1:
        raise ExportError(f"말하는 사람이 '{next(iter(counts))}' 하나뿐이라 배울 대화가 없어요.")
    if set(counts) == {"user", "assistant"} and not me and bot is None:
        return Roles(("user",), "assistant")  # a file of questions and answers says it itself
    others = [name for name in counts if name not in me]
    if bot is not None:
        known = [name for name in counts if name != bot and (len(counts) == 2 or name in owner)]
        return Roles(me or tuple(known[:1]), bot)
    if me and len(others) == 1:
        return Roles(me, others[0])
    if choose is not None and others:
        return choose(counts, owner, me)
    option = "--bot" if me else "--me"
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
    return split_at(position)


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
    with open_private(folder / "dataset.json") as file:
        file.write(json.dumps(facts, ensure_ascii=False, indent=2) + "\n")


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
