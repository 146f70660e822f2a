"""The reviewer of questions, answers, dialogues and evaluation lines.

What breaks a rule is an error; what a person should look at is a warning. Counts are of what
stands in the files and, for questions, of what is left when near copies within an intent are merged.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rapidfuzz.distance import Levenshtein

from chatbot.errors import ChatbotError
from chatbot.knowledge import LISTENING, pair_of, read_rows
from chatbot.models.encoder import Encoder, Progress
from chatbot.overlap import SET_PHRASE, Overlap
from chatbot.privacy import mask
from chatbot.resources import data_dir
from chatbot.safety import Danger, acceptable
from chatbot.style import sentences, speech_level
from chatbot.text import normalise, same_words

MIN_QUESTIONS = 3
MIN_ANSWERS = 2
# Two wordings of an intent this alike count once (1 - edit distance / longer length).
SAME_WORDING = 0.85
# An answer that serves more intents than this fits anything.
MAX_USES = 3
MAX_QUESTION, MIN_ANSWER, MAX_ANSWER = 60, 6, 90  # characters
# A topic this many times larger or smaller than the median is out of balance.
TOPIC_RATIO = 4
# Questions of two intents that the encoder cannot tell apart.
NEAR_COSINE = 0.92
HALVES = ("dev", "test")
GRADES = range(4)
MAX_SCORE = 5  # of likeness of meaning, as in STS-B
LABELS = {
    "unseen": {"ood", "unseen"},
    "crisis": {*get_args(Danger), "none"},
    "groups": {"group", "everyday"},
    "unknown": {"ood", "everyday"},
}
_LAUGHTER = re.compile("[ㅋㅎㅠㅜ]")
_BLOCK = 1024  # rows compared at a time


@dataclass
class Report:
    """Counts by name; errors and warnings, one Korean sentence each, with file and line."""

    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def count(self, name: str, by: int = 1) -> None:
        """Add to a count."""
        self.counts[name] = self.counts.get(name, 0) + by


def check(
    path: Path | None = None,
    *,
    against: Path | None = None,
    encoder: Callable[[], Encoder] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check one file, or a folder laid out as ``data/`` (the shipped one by default).

    With ``against``, sentences that stand in the text files of that folder, too, are errors, except
    for set phrases under ten syllables, which are counted. With ``encoder``, called only where there
    are intents, questions of different ones that it finds all but equal are warned of. ``progress`` is
    told how far either has come.

    Raises:
        ChatbotError: there is no such file or folder, or nothing in it to check.
    """
    root = path or data_dir()
    if not root.exists():
        raise ChatbotError(f"{root}: 그런 파일이나 폴더가 없어요. 경로를 확인해 주세요.")
    files = (
        [root]
        if root.is_file()
        else sorted(path for kind in ("jsonl", "csv", "tsv") for path in root.rglob(f"*.{kind}"))
    )
    if not files:
        raise ChatbotError(f"{root}: 검사할 .jsonl이나 .csv 파일이 없어요. 경로를 확인해 주세요.")
    report = Report()
    checker = _Checker(report, Overlap() if against else None)
    for file in files:
        if file.suffix.lower() in (".csv", ".tsv"):
            for line, row in read_rows(file):
                checker.columns(row, f"{file} {line}번째 줄")
            continue
        for place, row in _rows(file, report):
            try:
                checker.row(row, place, file)
            except (AttributeError, KeyError, TypeError, ValueError):
                checker.problem(place, "항목의 형태가 달라요. 글은 따옴표로, 여러 개는 [ ]로 써 주세요.")
    checker.finish()
    if encoder and checker.questions:
        checker.near_duplicates(encoder(), progress)
    if against:
        checker.against(against, progress)
    return report


def merged(questions: list[str]) -> int:
    """Return how many wordings are left when those with an edit similarity of 0.85 or more are one."""
    kept: list[str] = []
    for text in questions:
        key = same_words(text)
        if all(Levenshtein.normalized_similarity(key, other) < SAME_WORDING for other in kept):
            kept.append(key)
    return len(kept)


def _rows(file: Path, report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
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

    def __init__(self, report: Report, overlap: Overlap | None) -> None:
        self.report, self.overlap = report, overlap
        self.ids: set[str] = set()
        self.topics: Counter[str] = Counter()
        self.wordings: dict[str, tuple[str, str]] = {}  # squeezed -> (intent, what kind)
        self.lines: dict[str, str] = {}  # squeezed -> situation
        self.questions: list[tuple[str, str]] = []  # (intent, wording) of what is indexed
        self.answer_uses: defaultdict[str, set[str]] = defaultdict(set)  # answer -> intents
        self.replies: set[str] = set()
        self.targets: list[tuple[str, str]] = []
        self.eval_texts: set[str] = set()

    def row(self, row: dict[str, Any], place: str, file: Path) -> None:
        if row.get("topic") == LISTENING:
            self.situation(row, place)
        elif "questions" in row:
            self.intent(row, place, file)
        elif "target" in row:
            self.follow_up(row, place)
        elif "messages" in row:
            self.dialogue(row, place)
        elif "replies" in row:
            self.rated(row, place)
        elif "label" in row:
            self.labelled(row, place, file)
        elif "score" in row:
            self.scored(row, place)
        elif {"question", "answer"} <= row.keys():
            self.pair(row["question"], row["answer"], place)
        else:
            self.problem(place, '{"question": "안녕", "answer": "반가워"}처럼 알려진 형식으로 써 주세요.')

    def columns(self, row: dict[str, Any], place: str) -> None:
        """Check the row of a table."""
        try:
            self.pair(*pair_of(row), place)
        except (AttributeError, KeyError, TypeError, ValueError):
            self.problem(place, "question 열과 answer 열이 채워져 있어야 해요.")

    def pair(self, question: str, answer: str, place: str) -> None:
        """Check a question with its answer."""
        self._text(question, place)
        self._text(answer, place)
        self.answer_uses[answer].add(same_words(question))
        self.report.count("질문과 답")

    def problem(self, place: str, what: str) -> None:
        self.report.problems.append(f"{place}: {what}")

    def warn(self, place: str, what: str) -> None:
        self.report.warnings.append(f"{place}: {what}")

    def intent(self, row: dict[str, Any], place: str, file: Path) -> None:
        fields = ("id", "topic", "questions", "dev_questions", "test_questions", "answers")
        absent = [name for name in fields if not row.get(name)]
        if absent:
            self.problem(place, f"{', '.join(absent)} 항목이 없거나 비었어요.")
            return
        self._new_id(row["id"], place)
        self.topics[row["topic"]] += 1
        if row["topic"] != file.stem:
            self.problem(place, f"topic '{row['topic']}'이(가) 파일 이름과 달라요.")
        if merged(row["questions"]) < MIN_QUESTIONS:
            self.problem(place, f"서로 다른 질문이 {MIN_QUESTIONS}개보다 적어요.")
        for kind in ("questions", "dev_questions", "test_questions"):
            for text in row[kind]:
                self._text(text, place)
                if len(text) > MAX_QUESTION:
                    self.warn(place, f"'{text}': 질문이 {MAX_QUESTION}자보다 길어요.")
                key = same_words(text)
                if key in self.wordings:
                    other, other_kind = self.wordings[key]
                    self.problem(place, f"'{text}'이(가) {other}의 {other_kind}에도 있어요.")
                self.wordings[key] = (row["id"], kind)
            name = {"questions": "질문"}.get(kind, kind.replace("_questions", " 질문"))
            self.report.count(name, len(row[kind]))
        self.questions += [(row["id"], text) for text in row["questions"]]
        self.report.count("질문(비슷한 것을 합치면)", merged(row["questions"]))
        for style in ("polite", "casual"):
            answers = row["answers"].get(style, [])
            if len(answers) < MIN_ANSWERS:
                self.problem(place, f"{style} 답이 {MIN_ANSWERS}개보다 적어요.")
            for text in answers:
                self._answer(text, style, place)
                self.answer_uses[same_words(text)].add(row["id"])
                self.report.count("답")
        self.report.count("의도")

    def situation(self, row: dict[str, Any], place: str) -> None:
        """Check lines of everyday talk and the replies that fit each of them."""
        absent = [name for name in ("id", "questions", "answers") if not row.get(name)]
        if absent:
            self.problem(place, f"{', '.join(absent)} 항목이 없거나 비었어요.")
            return
        self._new_id(row["id"], place)
        for text in row["questions"]:
            self._text(text, place)
            key = same_words(text)
            if key in self.lines:
                self.problem(place, f"'{text}'이(가) {self.lines[key]}에도 있어요.")
            self.lines[key] = row["id"]
        self.report.count("맞장구치는 말", len(row["questions"]))
        for style in ("polite", "casual"):
            answers = row["answers"].get(style, [])
            if not answers:
                self.problem(place, f"{style} 답이 없어요.")
            for text in answers:
                self._answer(text, style, place)
                self.report.count("맞장구")

    def dialogue(self, row: dict[str, Any], place: str) -> None:
        roles = [message.get("role") for message in row["messages"]]
        if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
            self.problem(place, "user와 assistant가 번갈아 나오지 않아요.")
            return
        self._new_id(row.get("id", ""), place)
        meta = row.get("meta", {})
        style = meta.get("style")
        named = any(message.get("name") for message in row["messages"])
        listening = meta.get("topic") == LISTENING
        for i, message in enumerate(row["messages"]):
            self._text(message.get("content", ""), place)
            if message["role"] == "assistant":
                self.replies.add(f"{row.get('id')}#{i}")
                # A listener answers what has been said so far, in whichever level.
                if style and (not listening or i == len(roles) - 1):
                    self._answer(message["content"], style, place, persona=bool(message.get("name")))
        if "half" in meta:
            self._half(meta, place)
            self.report.count("평가용 대화")
            return
        if listening:
            self.report.count("맞장구")
            return
        self.report.count("대화")
        self.report.count("대화의 말", len(roles))
        if named:
            self.report.count("이름 있는 사람들의 대화")

    def follow_up(self, row: dict[str, Any], place: str) -> None:
        self._new_id(row.get("id", ""), place)
        self._half(row, place)
        for message in row["messages"]:
            self._text(message["content"], place)
        self.targets.append((place, row["target"]))
        self.report.count("이어지는 말")

    def rated(self, row: dict[str, Any], place: str) -> None:
        """Check graded replies; what a model wrote may be any nonsense."""
        for text in row["said"]:
            self._text(text, place)
        if row.get("half") not in ("train", "dev"):
            self.problem(place, "half는 train 또는 dev여야 해요.")
        for reply in row["replies"]:
            if reply["grade"] not in GRADES:
                self.problem(place, f"grade {reply['grade']}: 0에서 3까지 써 주세요.")
            if reply["kind"] != "written":
                self._text(reply["content"], place)
            self.report.count(f"ratings {reply['kind']}")
        self.report.count("점수를 매긴 말")

    def scored(self, row: dict[str, Any], place: str) -> None:
        for text in (row["a"], row["b"]):
            self._text(text, place)
        if not 0 <= row["score"] <= MAX_SCORE:
            self.problem(place, f"score {row['score']}: 0에서 {MAX_SCORE}까지 써 주세요.")
        self.report.count("뜻이 얼마나 같은지 매긴 짝")

    def labelled(self, row: dict[str, Any], place: str, file: Path) -> None:
        if file.parent.name == "eval" or "half" in row:
            self._half(row, place)
        self._text(row.get("text", ""), place, personal=False)
        known = LABELS.get(file.stem)
        if known and row["label"] not in known:
            self.problem(place, f"label '{row['label']}'은(는) 없는 값이에요.")
        key = same_words(row.get("text", ""))
        if key in self.eval_texts:
            self.problem(place, f"'{row['text']}'이(가) 두 번 있어요.")
        self.eval_texts.add(key)
        self.report.count(f"{file.parent.name}/{file.stem} {row['label']}")

    def finish(self) -> None:
        """Check what needs everything to have been read."""
        for place, target in self.targets:
            if self.replies and target not in self.replies:
                self.problem(place, f"target '{target}'인 대화의 답이 없어요.")
        for answer, uses in self.answer_uses.items():
            if len(uses) > MAX_USES:
                names = ", ".join(sorted(uses)[:3])
                self.warn(f"'{answer}'", f"{len(uses)}가지 질문에 쓰인 답이에요({names} 등).")
        if self.topics:
            self.report.counts["주제"] = len(self.topics)
            median = float(np.median(list(self.topics.values())))
            for topic, count in sorted(self.topics.items()):
                if not median / TOPIC_RATIO <= count <= median * TOPIC_RATIO:
                    self.warn(topic, f"의도가 {count}개로, 가운데 값 {median:.0f}개와 크게 달라요.")

    def near_duplicates(self, encoder: Encoder, progress: Progress | None) -> None:
        """Warn of questions of two intents whose embeddings all but coincide, nearest first."""
        vectors = encoder.encode([text for _, text in self.questions], progress)
        owners = np.unique([owner for owner, _ in self.questions], return_inverse=True)[1]
        found: list[tuple[float, int, int]] = []
        for start in range(0, len(vectors), _BLOCK):
            cosines = vectors[start : start + _BLOCK] @ vectors.T
            for row, column in np.argwhere(cosines >= NEAR_COSINE):
                i, j = start + int(row), int(column)
                if i < j and owners[i] != owners[j]:
                    found.append((float(cosines[row, column]), i, j))
        for cosine, i, j in sorted(found, reverse=True):
            (own, text), (other, other_text) = self.questions[i], self.questions[j]
            self.warn(own, f"'{text}'와(과) {other}의 '{other_text}'은(는) 뜻이 비슷해요({cosine:.2f}).")
        self.report.counts["다른 의도와 뜻이 겹치는 질문"] = len(found)

    def against(self, folder: Path, progress: Progress | None) -> None:
        """Name every sentence of ours that stands in the text of ``folder``, too."""
        assert self.overlap is not None
        found = self.overlap.search(folder, progress)
        for sentence, (place, other) in sorted(found.items()):
            if sum("가" <= c <= "힣" for c in sentence) < SET_PHRASE:
                self.report.count(f"다른 말뭉치에도 있는 {SET_PHRASE}음절 미만의 말")
            else:
                self.problem(place, f"'{sentence}'이(가) {other}에도 있어요. 고쳐 써 주세요.")

    def _new_id(self, name: str, place: str) -> None:
        if not name or name in self.ids:
            self.problem(place, f"id '{name}'이(가) 비었거나 두 번 쓰였어요.")
        self.ids.add(name)

    def _half(self, row: dict[str, Any], place: str) -> None:
        if row.get("half") not in HALVES:
            self.problem(place, f"half는 {' 또는 '.join(HALVES)}여야 해요.")

    def _text(self, text: str, place: str, personal: bool = True) -> None:
        if self.overlap:
            self.overlap.add(text, place)
        if not text.strip():
            self.problem(place, "빈 글이 있어요.")
        elif normalise(text) != text:
            self.problem(place, f"'{text}': 앞뒤 빈칸이나 제어 문자, 풀어쓴 한글이 있어요.")
        if personal and mask(text) != text:
            self.problem(place, f"개인정보처럼 보이는 것이 있어요: {mask(text)}")

    def _answer(self, text: str, style: str, place: str, *, persona: bool = False) -> None:
        self._text(text, place)
        if not acceptable(text):
            self.problem(place, f"'{text}': 해서는 안 되는 말이 있어요.")
        if not persona and not MIN_ANSWER <= len(text) <= MAX_ANSWER:
            self.warn(place, f"'{text}': 답은 {MIN_ANSWER}~{MAX_ANSWER}자가 알맞아요.")
        level = speech_level(text)
        if style == "casual" and level == "polite":
            self.problem(place, f"'{text}': casual 답이 존댓말이에요.")
        if style == "polite" and level == "casual":
            self.problem(place, f"'{text}': polite 답이 반말이에요.")
        if style == "polite" and not persona:
            if level == "polite" and any(speech_level(part) == "casual" for part in sentences(text)):
                self.warn(place, f"'{text}': 존댓말과 반말이 섞인 것 같아요.")
            if _LAUGHTER.search(text):
                self.warn(place, f"'{text}': polite 답에 ㅋㅋ나 ㅠㅠ가 있어요.")
