"""Speech level: telling 존댓말 from 반말, and which of the two to answer in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from chatbot.dialogue import Conversation

Style = Literal["polite", "casual"]

# What follows the last word without changing its speech level.
_MARKS = r"[\s.!?~…,^;:)\]'\"”’ㄱ-ㅎㅏ-ㅣ]"
_TAIL = re.compile(rf"(?<!{_MARKS}){_MARKS}+$")  # from the start of a run only: a long one is looked at once
_SENTENCE = re.compile(r"(?<=[.!?~…\n])\s+|\n+")
_HANGUL_WORD = re.compile(r"(?<![가-힣])[가-힣]+$")


def _syllables(*finals: int, vowels: Iterable[int] = range(21)) -> str:
    """Return a character class of syllables with these final consonants (Unicode, 3.12: Hangul)."""
    codes = (0xAC00 + (lead * 21 + vowel) * 28 + f for lead in range(19) for vowel in vowels for f in finals)
    return f"[{''.join(map(chr, codes))}]"


# Syllables that close in ㅂ: 합니다 and 합니까 are polite, 아니다 and 하니까 are not.
_B = _syllables(17)
_POLITE = re.compile(
    rf"(요|{_B}니다|{_B}니까|{_B}시다|십시오|십쇼|시죠|지요|죠|세용|해용|이에용|네용|쥬)$|^(네|넵|넹|예)$"
)
_TRAILING_OFF = re.compile(r"(고|서|데|면|까)$")
# In the middle of a sentence typed without full stops: 몸이 안 움직여요 마냥 쉬고 싶고
_POLITE_INSIDE = re.compile(
    r"[어아여해져네세예에데까게든지워와봐라려러펴켜쳐겨줘돼래셔퍼빠커써떠꺼파개나가]요(?=[\s,])"
    rf"|(?:[가-힣]죠|{_B}니다|{_B}니까|{_B}시다|십시오)(?=\s)"
)
# The same in 반말, only what cannot lead on to another verb: 어디야 영업하는 곳
_CASUAL_INSIDE = re.compile(
    r"(?:냐|[거디뭐구데]야|하지 ?마|렴|해줘|[가-힣]줄래|하자|[할갈볼줄]래|[할줄갈올]게|필요해|궁금하네"
    r"|[았었했였]어|싶어|있어|없어|알아|안 ?돼|있지|딨지|하니|되니|더라|어때)(?=\s)"
)
_POLITE_NOUNS = re.compile(r"(필요|중요|주요|수요|소요|동요|민요|(?:대중|인기)가요)$|^(?:개|고)요$")


# Open syllables in ㅝ and ㅕ end contracted 반말: 반가워, 그려, 던져.
_CONTRACTED = _syllables(0, vowels=(6, 14))
_HEARSAY = _syllables(4, 20) + "대"  # 온대, 낳았대
# Notes to oneself that end in a nominal, 모름 and 빠뜨림, are 반말; these nouns are not such notes.
_NOMINAL = _syllables(16)
_NOUNS = re.compile(
    r"(?:님|사람|마음|처음|지금|이름|여름|점심|게임|걸음|구름|바람|아침|다음|그림|알림|얼음|소금|요금|심심|조금|가슴|믿음|기쁨|슬픔)$"
    r"|^(?:모임|웃음|밤|몸|꿈|힘|잠|봄|곰|섬|쯤|참|땀|금|담|팀|폼|음|흠|엄|김|짐|컴)$"
    r"|(?:반|현|연|환|본|전|근|군)대$"
)
_CASUAL = re.compile(
    rf"({_CONTRACTED}|{_HEARSAY}|{_NOMINAL}|어때|미안|내|떠|아|어|야|해|돼|지|네|다|냐|니|자|래|라|게|까|걸|군|구나|데|듯"
    r"|봐|와|놔|가|나|거든|든|고|서|면|잖아|더라|려고|러|안녕|응|엉|웅|그래|마|걍|뭐|왜|써|꺼|커|싫|좋"
    r"|파|퍼|빠|뻐|싸|빨개|까매|하얘|노래|파래|뿌예|렴|다오|[자라다]구)$"
)
# 기다리는 중, 싸울 뻔, 죽는 줄: left open where 존댓말 would go on.
_FRAGMENT = re.compile(r"[가-힣](?:는|을|ㄹ|던) ?(?:중|줄|뻔|듯)$|\S ?(?:뻔|중)$")


def sentences(text: str) -> list[str]:
    """Split at sentence ends followed by space, and at line breaks."""
    return [part for part in _SENTENCE.split(text) if part.strip()]


def speech_level(text: str) -> Style | None:
    """Tell 존댓말 (``"polite"``) from 반말 (``"casual"``); ``None`` where nothing shows it.

    One polite ending makes the utterance polite, since people drop ``요`` now and then but add
    it by accident hardly ever. Consonants alone (``ㅋㅋ``, ``ㅇㅇ``) show nothing.
    """
    found: Style | None = None
    for sentence in sentences(text):
        bare = _TAIL.sub("", sentence)
        match = _HANGUL_WORD.search(bare)
        if match is None:
            continue
        word = match.group()
        if _POLITE.search(word) and not _POLITE_NOUNS.search(word):
            return "polite"
        casual = (_CASUAL.search(word) and not _NOUNS.search(word)) or _FRAGMENT.search(bare)
        if (_TRAILING_OFF.search(word) or not casual) and _POLITE_INSIDE.search(sentence):
            return "polite"
        if casual or _CASUAL_INSIDE.search(sentence):
            found = "casual"
    return found


def reply_style(conversation: Conversation) -> Style:
    """Return the speech level to answer in: the one set, else the one the user last showed."""
    if conversation.style:
        return conversation.style
    shown = (speech_level(text) for text in reversed(conversation.said("user")))
    return next((level for level in shown if level), "polite")
