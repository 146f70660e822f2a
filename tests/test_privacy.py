from __future__ import annotations

import pytest

from chatbot.privacy import StreamMasker, mask

PERSONAL = [
    ("내 번호는 010-1234-5678이야", "내 번호는 [전화번호]이야"),
    ("01012345678로 연락해", "[전화번호]로 연락해"),
    ("+82 10-1234-5678", "[전화번호]"),
    ("02-123-4567", "[전화번호]"),
    ("주민번호 900101-1234567", "주민번호 [주민번호]"),
    ("카드 1234-5678-9012-3456", "카드 [카드번호]"),
    ("계좌 110-123-456789로 보내", "계좌 [계좌번호]로 보내"),
    ("메일은 a.b+c@example.co.kr 이야", "메일은 [이메일] 이야"),
]


@pytest.mark.parametrize(("text", "masked"), PERSONAL)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "109에 전화해요",
        "1577-0199",
        "1388이나 1366, 112, 119",
        "2024-05-01에 만나",
        "24-05-01에 만나",
        "10000원",
        "3.14",
        "12:30",
    ],
)
def test_public_numbers_and_dates_stay(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize(("text", "masked"), PERSONAL)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_stream_masker_masks_across_pieces(text: str, masked: str, size: int) -> None:
    masker = StreamMasker()
    pieces = [masker.feed(text[i : i + size]) for i in range(0, len(text), size)]
    assert "".join(pieces) + masker.flush() == masked


def test_stream_masker_does_not_hold_back_hangul() -> None:
    masker = StreamMasker()
    assert masker.feed("안녕") == "안녕"
    assert masker.feed(" 하세요") == " 하세요"
    assert masker.feed(" good morning to") == " good morning "
    assert masker.feed(" you") == "to "
    assert masker.flush() == "you"
