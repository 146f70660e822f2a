"""Slack: the zip of a workspace with a folder for each room, or the file of a single day."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

from chatbot.chatlogs.message import Dropped, ExportError, ExportFormat, Message, make_message, seoul_time
from chatbot.chatlogs.source import Sample, Source

_DAY = re.compile(r"(?!__MACOSX/)((?:.*/)?[^/]+)/(\d{4}-\d\d-\d\d)\.json", re.ASCII)
_USERS = ("users.json", "org_users.json")
_ROOMS = ("channels.json", "groups.json", "dms.json", "mpims.json")
_TIMESTAMP = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)
_PEOPLE_WRITE = (None, "thread_broadcast", "file_share", "me_message")
_SLACKBOT = "USLACKBOT"
_MARKUP = re.compile(r"<([^<>]+)>|&(?:lt|gt|amp);")
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&amp;": "&"}


@dataclass
class _Workspace:
    """Who and what the ids in the messages stand for."""

    users: dict[str, str] = field(default_factory=dict)
    bots: set[str] = field(default_factory=lambda: {_SLACKBOT})
    rooms: dict[str, str] = field(default_factory=dict)


def _recognise(sample: Sample) -> float:
    if sample.members:
        names = {name.rpartition("/")[2] for name in sample.members}
        if names.isdisjoint((*_USERS, *_ROOMS)):
            return 0.0
        if any(_DAY.fullmatch(name) for name in sample.members):
            return 1000.0
        return 0.5 if not names.isdisjoint(_USERS) and not names.isdisjoint(_ROOMS) else 0.0
    day = sample.shape.get("")
    return 1000.0 if isinstance(day, list) and any(map(_is_record, day)) else 0.0


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and "type" in value and _read_time(value) is not None


def _read(source: Source, dropped: Dropped) -> Iterator[Message]:
    if not source.is_zip:
        yield from _read_day(source, _Workspace(), 0, dropped)
        return
    names = source.members()
    with zipfile.ZipFile(source.path) as archive:
        workspace = _read_workspace(source, archive, names)
        days = sorted(match.group(1, 2, 0) for name in names if (match := _DAY.fullmatch(name)))
        for part, (_, room) in enumerate(groupby(days, key=lambda day: day[0]), start=1):
            for _, _, name in room:
                yield from _read_day(Source(source.path, name, archive), workspace, part, dropped)


def _read_workspace(source: Source, archive: zipfile.ZipFile, names: list[str]) -> _Workspace:
    workspace = _Workspace()
    for name in names:
        file = name.rpartition("/")[2]
        if name.startswith("__MACOSX/") or file not in (*_USERS, *_ROOMS):
            continue
        for entry in Source(source.path, name, archive).json_items("item"):
            id_ = entry.get("id") if isinstance(entry, dict) else None
            if not isinstance(id_, str):
                continue
            if file in _USERS:
                _learn_user(workspace, id_, entry)
            elif isinstance(entry.get("name"), str):
                workspace.rooms[id_] = entry["name"]
    return workspace


def _learn_user(workspace: _Workspace, id_: str, user: dict[str, Any]) -> None:
    """Remember a user from the list of all, or from what a message tells about a guest."""
    profile = user.get("profile")
    known = {**user, **profile} if isinstance(profile, dict) else user
    names = (known.get(key) for key in ("display_name", "real_name"))
    for name in (*names, user.get("name")):
        if isinstance(name, str) and name.strip():
            workspace.users[id_] = name
            break
    if user.get("is_bot"):
        workspace.bots.add(id_)


def _read_day(source: Source, workspace: _Workspace, part: int, dropped: Dropped) -> Iterator[Message]:
    for day in source.json_items(""):
        if not isinstance(day, list):
            raise ExportError(f"{source}: 슬랙의 하루치 대화가 아니에요. 내보낸 zip을 그대로 골라 주세요.")
        for record in day:
            _learn_guest(record, workspace)
        for record in day:
            message = _read_message(record, workspace, dropped)
            if message is not None:
                yield message._replace(part=part)


def _learn_guest(record: Any, workspace: _Workspace) -> None:
    if not isinstance(record, dict):
        return
    id_, profile = record.get("user"), record.get("user_profile")
    if isinstance(id_, str) and isinstance(profile, dict) and id_ not in workspace.users:
        _learn_user(workspace, id_, profile)


def _read_time(record: dict[str, Any]) -> datetime | None:
    stamp = record.get("ts")
    if not isinstance(stamp, str) or not _TIMESTAMP.fullmatch(stamp):
        return None
    return seoul_time(float(stamp))


def _read_message(record: Any, workspace: _Workspace, dropped: Dropped) -> Message | None:
    if not isinstance(record, dict):
        dropped["broken"] += 1
        return None
    kind, subtype, user, text = (record.get(key) for key in ("type", "subtype", "user", "text"))
    time = _read_time(record)
    if time is None or not isinstance(kind, str):
        dropped["broken"] += 1
    elif (
        record.get("bot_id") or subtype == "bot_message" or (isinstance(user, str) and user in workspace.bots)
    ):
        dropped["bot"] += 1
    elif subtype == "tombstone":
        dropped["deleted"] += 1
    elif kind != "message" or subtype not in _PEOPLE_WRITE:
        dropped["system"] += 1
    elif not isinstance(user, str) or not user or not isinstance(text, str):
        dropped["broken"] += 1
    elif not text.strip() and _is_shared(record.get("attachments")):
        dropped["forwarded"] += 1
    elif not text.strip() and any(record.get(key) for key in ("files", "attachments")):
        dropped["media"] += 1
    else:
        return make_message(time, workspace.users.get(user, user), _as_shown(text, workspace), dropped)
    return None


def _is_shared(attachments: Any) -> bool:
    """Tell whether a message only passes on another one."""
    entries = attachments if isinstance(attachments, list) else ()
    return any(isinstance(entry, dict) and entry.get("is_share") for entry in entries)


def _as_shown(text: str, workspace: _Workspace) -> str:
    """Return a text with names for ids, labels for links and no escapes."""

    def replace(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return _ENTITIES[match.group()]
        target, _, label = match.group(1).partition("|")
        label = _unescaped(label)
        mark, id_ = target[:1], target[1:]
        if mark == "@":
            return "@" + (workspace.users.get(id_) or label or id_)
        if mark == "#":
            return "#" + (label or workspace.rooms.get(id_, id_))
        if mark == "!":  # <!here>, <!subteam^S1|@team>, <!date^1714618900^{date}|May 2>
            return label if label.startswith("@") or (label and "^" in id_) else "@" + id_
        return label or _unescaped(target.removeprefix("mailto:"))

    return _MARKUP.sub(replace, text)


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


FORMATS = (ExportFormat("slack", "슬랙", _recognise, _read),)
