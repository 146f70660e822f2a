"""Checks the form of intents, dialogues and evaluation lines, and counts them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatbot.errors import ChatbotError
from chatbot.knowledge import load_knowledge
from chatbot.privacy import mask
from chatbot.resources import data_dir
from chatbot.safety import acceptable
from chatbot.style import speech_level
from chatbot.text import normalise, squeeze

MIN_QUESTIONS = 3
MIN_ANSWERS = 2
HALVES = ("dev", "test")
LABELS = {
    "unseen": {"ood", "unseen"},
    "crisis": {"suicide", "self-harm", "violence", "abuse", "none"},
}


@dataclass
class Report:
    """Counts by name, and one Korean sentence for every problem, with file and line."""

    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def count(self, name: str, by: int = 1) -> None:
        """Add to a count."""
        self.counts[name] = self.counts.get(name, 0) + by


def check(path: Path | None = None) -> Report:
    """Check one file, or a folder laid out as ``data/`` (the shipped one by default)."""
    root = path or data_dir()
    if not root.exists():
        raise ChatbotError(f"{root}: 그런 파일이나 폴더가 없어요. 경로를 확인해 주세요.")
    files = [root] if root.is_file() else sorted([*root.rglob("*.jsonl"), *root.rglob("*.csv")])
    if not files:
        raise ChatbotError(f"{root}: 검사할 .jsonl이나 .csv 파일이 없어요. 경로를 확인해 주세요.")
    report = Report()
    checker = _Checker(report)
    for file in files:
        if file.suffix.lower() == ".csv":
            report.count("질문과 답", len(load_knowledge(file).entries))  # raises where a line is wrong
            continue
        for place, row in _rows(file, report):
            try:
                checker.row(row, place, file)
            except (AttributeError, KeyError, TypeError, ValueError):
                checker.problem(place, "항목의 형태가 달라요. 글은 따옴표로, 여러 개는 [ ]로 써 주세요.")
    checker.finish()
    return report


def _rows(file: Path, report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        report.problems.append(f"{file}: UTF-8로 읽을 수 없어요({error}).")
        return
    for number, line in enumerate(lines, start=1):
        place = f"{file} {number}번째 줄"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            report.problems.append(f"{place}: JSON이 아니에요({error.msg}).")
            continue
        if isinstance(row, dict):
            yield place, row
        else:
            report.problems.append(f"{place}: JSON 객체가 아니에요.")


class _Checker:
    """Remembers what was seen, for the checks that go over several files."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.ids: set[str] = set()
        self.topics: set[str] = set()
        self.wordings: dict[str, tuple[str, str]] = {}  # squeezed -> (intent, what kind)
        self.replies: set[str] = set()
        self.targets: list[tuple[str, str]] = []
        self.eval_texts: set[str] = set()

    def row(self, row: dict[str, Any], place: str, file: Path) -> None:
        if "questions" in row:
            self.intent(row, place, file)
        elif "target" in row:
            self.follow_up(row, place)
        elif "messages" in row:
            self.dialogue(row, place)
        elif "label" in row:
            self.labelled(row, place, file)
        elif {"question", "answer"} <= row.keys():
            self._text(row["question"], place)
            self._text(row["answer"], place)
            self.report.count("질문과 답")
        else:
            self.problem(place, '{"question": "안녕", "answer": "반가워"}처럼 알려진 형식으로 써 주세요.')

    def problem(self, place: str, what: str) -> None:
        self.report.problems.append(f"{place}: {what}")

    def intent(self, row: dict[str, Any], place: str, file: Path) -> None:
        fields = ("id", "topic", "questions", "dev_questions", "test_questions", "answers")
        absent = [name for name in fields if not row.get(name)]
        if absent:
            self.problem(place, f"{', '.join(absent)} 항목이 없거나 비었어요.")
            return
        self._new_id(row["id"], place)
        self.topics.add(row["topic"])
        if row["topic"] != file.stem:
            self.problem(place, f"topic '{row['topic']}'이(가) 파일 이름과 달라요.")
        if len(row["questions"]) < MIN_QUESTIONS:
            self.problem(place, f"질문이 {MIN_QUESTIONS}개보다 적어요.")
        for kind in ("questions", "dev_questions", "test_questions"):
            for text in row[kind]:
                self._text(text, place)
                key = squeeze(text) or text
                if key in self.wordings:
                    other, other_kind = self.wordings[key]
                    self.problem(place, f"'{text}'이(가) {other}의 {other_kind}에도 있어요.")
                self.wordings[key] = (row["id"], kind)
                self.report.count({"questions": "질문"}.get(kind, kind.replace("_questions", " 질문")))
        for style in ("polite", "casual"):
            answers = row["answers"].get(style, [])
            if len(answers) < MIN_ANSWERS:
                self.problem(place, f"{style} 답이 {MIN_ANSWERS}개보다 적어요.")
            for text in answers:
                self._answer(text, style, place)
                self.report.count("답")
        self.report.count("의도")

    def dialogue(self, row: dict[str, Any], place: str) -> None:
        roles = [message.get("role") for message in row["messages"]]
        if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
            self.problem(place, "user와 assistant가 번갈아 나오지 않아요.")
            return
        self._new_id(row.get("id", ""), place)
        style = row.get("meta", {}).get("style")
        for i, message in enumerate(row["messages"]):
            self._text(message.get("content", ""), place)
            if message["role"] == "assistant":
                self.replies.add(f"{row.get('id')}#{i}")
                if style:
                    self._answer(message["content"], style, place)
        self.report.count("대화")
        self.report.count("대화의 말", len(roles))

    def follow_up(self, row: dict[str, Any], place: str) -> None:
        self._new_id(row.get("id", ""), place)
        self._half(row, place)
        self.targets.append((place, row["target"]))
        self.report.count("이어지는 말")

    def labelled(self, row: dict[str, Any], place: str, file: Path) -> None:
        self._half(row, place)
        self._text(row.get("text", ""), place, personal=False)
        known = LABELS.get(file.stem)
        if known and row["label"] not in known:
            self.problem(place, f"label '{row['label']}'은(는) 없는 값이에요.")
        key = squeeze(row.get("text", "")) or row.get("text", "")
        if key in self.eval_texts:
            self.problem(place, f"'{row['text']}'이(가) 두 번 있어요.")
        self.eval_texts.add(key)
        self.report.count(f"{file.stem} {row['label']}")

    def finish(self) -> None:
        """Check what needs everything to have been read."""
        for place, target in self.targets:
            if self.replies and target not in self.replies:
                self.problem(place, f"target '{target}'인 대화의 답이 없어요.")
        if self.topics:
            self.report.counts["주제"] = len(self.topics)

    def _new_id(self, name: str, place: str) -> None:
        if not name or name in self.ids:
            self.problem(place, f"id '{name}'이(가) 비었거나 두 번 쓰였어요.")
        self.ids.add(name)

    def _half(self, row: dict[str, Any], place: str) -> None:
        if row.get("half") not in HALVES:
            self.problem(place, f"half는 {' 또는 '.join(HALVES)}여야 해요.")

    def _text(self, text: str, place: str, personal: bool = True) -> None:
        if not text.strip():
            self.problem(place, "빈 글이 있어요.")
        elif normalise(text) != text:
            self.problem(place, f"'{text}': 앞뒤 빈칸이나 제어 문자, 풀어쓴 한글이 있어요.")
        if personal and mask(text) != text:
            self.problem(place, f"개인정보처럼 보이는 것이 있어요: {mask(text)}")

    def _answer(self, text: str, style: str, place: str) -> None:
        self._text(text, place)
        if not acceptable(text):
            self.problem(place, f"'{text}': 해서는 안 되는 말이 있어요.")
        level = speech_level(text)
        if style == "casual" and level == "polite":
            self.problem(place, f"'{text}': casual 답이 존댓말이에요.")
        if style == "polite" and level == "casual":
            self.problem(place, f"'{text}': polite 답이 반말이에요.")
