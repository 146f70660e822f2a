from __future__ import annotations

import re

import pytest

from chatbot.privacy import mask
from chatbot.resources import data_dir

ANDROID = re.compile(r"^\d{4}년 \d{1,2}월 \d{1,2}일 (?:오전|오후) \d{1,2}:\d{2}, (.+?) : (.*)$", re.S)
WINDOWS = re.compile(r"^\[(.+?)\] \[(?:오전|오후) \d{1,2}:\d{2}\] (.*)$", re.S)


@pytest.mark.parametrize(("name", "record", "bom"), [("android", ANDROID, True), ("windows", WINDOWS, False)])
def test_an_invented_export_has_the_layout_and_the_size_it_claims(
    name: str, record: re.Pattern[str], bom: bool
) -> None:
    raw = (data_dir() / "samples" / f"kakaotalk_{name}.txt").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf") == bom
    lines = raw.decode("utf-8-sig").split("\r\n")
    found = [match for line in lines if (match := record.match(line))]
    assert len(found) >= 1000 and len({match.group(1) for match in found}) == 2
    text = "\n".join(lines)
    assert {"[전화번호]", "[계좌번호]", "[이메일]"} <= set(re.findall(r"\[[가-힣]+\]", mask(text)))
    assert re.search(r"\d+동 \d+호", text) and text.count("사진\n") >= 5
    # Nothing real: the numbers planted are of ranges that are never given out.
    assert set(re.findall(r"010-(\d{4})-\d{4}", text)) == {"0000"}
