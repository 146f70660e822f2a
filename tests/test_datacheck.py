from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chatbot.datacheck import check


def intent(**changes: Any) -> dict[str, Any]:
    return {
        "id": "t-1",
        "topic": "t",
        "questions": ["하나", "둘", "셋"],
        "dev_questions": ["넷"],
        "test_questions": ["다섯"],
        "answers": {"polite": ["좋아요.", "그래요."], "casual": ["좋아.", "그래."]},
        **changes,
    }


def problems(folder: Path, *rows: dict[str, Any], name: str = "t") -> str:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return "\n".join(check(file).problems)


def test_a_good_file_has_no_problems(tmp_path: Path) -> None:
    assert (
        problems(
            tmp_path,
            intent(),
            intent(id="t-2", questions=["가", "나", "다"], dev_questions=["라"], test_questions=["마"]),
        )
        == ""
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"questions": ["하나", "둘"]}, "3개보다"),
        ({"dev_questions": []}, "dev_questions"),
        ({"test_questions": ["하 나!"]}, "하 나!"),
        ({"answers": {"polite": ["좋아요."], "casual": ["좋아.", "그래."]}}, "polite"),
        ({"answers": {"polite": ["좋아요.", "밥 먹어."], "casual": ["좋아.", "그래."]}}, "반말"),
        ({"answers": {"polite": ["좋아요.", "그래요."], "casual": ["좋아.", "그래요."]}}, "존댓말"),
        (
            {"answers": {"polite": ["010-1234-5678로 전화해요.", "그래요."], "casual": ["좋아.", "그래."]}},
            "개인정보",
        ),
        ({"answers": {"polite": ["좋아요.", "그래요."], "casual": ["이 병신아", "그래."]}}, "안 되는 말"),
        ({"questions": [" 하나", "둘", "셋"]}, "빈칸"),
        ({"topic": "other"}, "파일 이름"),
    ],
)
def test_every_fault_is_found_with_its_line(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    found = problems(tmp_path, intent(**changes))
    assert says in found and "1번째 줄" in found


def test_faults_across_lines(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        intent(),
        intent(questions=["여섯", "일곱", "둘"], dev_questions=["여덟"], test_questions=["아홉"]),
    )
    assert "두 번 쓰였어요" in found and "'둘'" in found


def test_evaluation_lines(tmp_path: Path) -> None:
    assert "label" in problems(tmp_path, {"text": "가", "label": "x", "half": "dev"}, name="unseen")
    assert "half" in problems(tmp_path, {"text": "가", "label": "ood", "half": "train"}, name="unseen")
    twice = {"text": "가", "label": "ood", "half": "dev"}
    assert "두 번" in problems(tmp_path, twice, twice, name="unseen")


def test_follow_ups_must_point_at_a_reply(tmp_path: Path) -> None:
    dialogue = {
        "id": "d",
        "messages": [{"role": "user", "content": "가"}, {"role": "assistant", "content": "좋아."}],
        "meta": {"style": "casual"},
    }
    item = {"id": "f", "half": "dev", "messages": [], "target": "d#3"}
    assert "d#3" in problems(tmp_path, dialogue, item)
    assert problems(tmp_path, dialogue, {**item, "target": "d#1"}) == ""


def test_broken_lines(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"a": 1}\n{broken\n[]\n', encoding="utf-8")
    found = check(file).problems
    assert len(found) == 3 and "2번째 줄" in found[1] and "3번째 줄" in found[2]
