"""Words that exports put where no person wrote anything: placeholders for media, notices, months."""

from __future__ import annotations

import re

from chatbot.chatlogs.message import Reason

MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}

_DELETED = re.compile(r"\(?삭제된 메시지입니다\.?\)?|This message was deleted\.?|메시지가 삭제되었습니다\.?")
_SYSTEM = re.compile(r"(?:채팅방 )?관리자가 메시지를 가렸습니다\.?|관리자만 말하기 기능이 .+되었습니다\.?")
_MEDIA = re.compile(
    r"사진(?: \d+장)?|[<(](?:사진|동영상|이모티콘|Photo|Video|Photo Unread|emoticon|Emoticon)[>)]"
    r"|(?:사진|동영상|이모티콘)을 보냈습니다\.?|동영상|이모티콘|음성 ?메시지"
    r"|Photos?(?: \d+)?|\d+ photos|[Vv]ideos?|Emoticons?|Voice Note"
    r"|(?:파일|File): \S.*\.\w{1,10}"
    r"|(?:보이스톡|페이스톡|그룹콜) (?:해요|취소|부재중|응답 ?없음|거절|종료|\d+:\d{2}(?::\d{2})?)\.?"
    r"|(?:Voice|Video) Call(?: \d+:\d{2}(?::\d{2})?)?"
    r"|(?:(?:라이브톡|Live Talk) (?:시작|종료|started|ended)|보이스룸 종료)(?: \d+:\d{2}(?::\d{2})?)?\.?"
    r"|보이스룸이 방금 시작했어요\.?|샵검색: #.*|카카오톡 프로필(?:: .*)?|톡게시판 '.*': ?.*"
    # these go on over several lines
    r"|(?s:(?:[\d,]+원을 (?:(?:보냈|받았)어요|받으세요)\.?(?:\n.*)?|[\d,]+원 받기 완료!?.*|송금: .*"
    r"|송금봉투를 (?:보냈습니다|받았어요).*|송금이 취소되었어요\.?(?:\n.*)?|자동환불 (?:예정|완료).*"
    r"|선물과 메시지를 보냈습니다\..*|선물을 보냈습니다\. 지금 확인해 보세요!.*))"
)
# A place or a contact that was shared, unless it reads like what people say after such a word.
_SHARED = re.compile(r"(?:지도|위치|연락처): .*")
_LONGEST_SHARED = 30
_SENTENCE = re.compile(r"(?:[야요어아해][.~]*|[?!ㅋㅎㅠㅜ])$|[없있]어")
# The two characters that all of these begin with; hardly any message of a person does.
_BEGINNINGS = frozenset(
    re.findall(
        "..",
        "사진동영이모음성파일보이페이그룹라이샵검카카지도위치연락톡게송금자동선물삭제메시채팅관리"
        "<사(사<동(동<이(이<P(P<V(V<e(e<E(E(삭PhViviEmVoFiLiTh",
    )
) | {digit + after for digit in "0123456789" for after in "0123456789,원 "}


def kakaotalk_left_out(text: str) -> Reason | None:
    """Return why KakaoTalk's text of a whole message is no person's, or ``None``.

    Only the whole message counts: ``사진`` is a photo, ``사진 좀 보내 줘`` is not.
    """
    if text[:2] not in _BEGINNINGS:
        return None
    text = text.strip()
    if _MEDIA.fullmatch(text) or _is_shared(text):
        return "media"
    if _DELETED.fullmatch(text):
        return "deleted"
    return "system" if _SYSTEM.fullmatch(text) else None


def _is_shared(text: str) -> bool:
    return len(text) <= _LONGEST_SHARED and bool(_SHARED.fullmatch(text)) and not _SENTENCE.search(text)
