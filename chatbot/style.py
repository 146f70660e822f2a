"""Speech level: telling 존댓말 from 반말, and which of the two to answer in."""

from __future__ import annotations

import re
from typing import Literal

from chatbot.dialogue import Conversation

Style = Literal["polite", "casual"]

# What follows the last word without changing its speech level.
_TAIL = re.compile(r"[\s.!?~…,^;:)\]'\"”’ㄱ-ㅎㅏ-ㅣ]+$")
_SENTENCE = re.compile(r"(?<=[.!?~…\n])\s+|\n+")
_HANGUL_WORD = re.compile(r"[가-힣]+$")

# Syllables that close in ㅂ: 합니다 and 합니까 are polite, 아니다 and 하니까 are not.
_B = "[" + "".join(chr(code) for code in range(ord("가") + 17, ord("힣") + 1, 28)) + "]"
_POLITE = re.compile(rf"(요|{_B}니다|{_B}니까|십시오|시죠|지요|죠|세용|해용|이에용|네용|쥬)$|^(네|넵|넹|예)$")
_TRAILING_OFF = re.compile(r"(고|서|데|면|까)$")
# In the middle of a sentence typed without full stops: 몸이 안 움직여요 마냥 쉬고 싶고
_POLITE_INSIDE = re.compile(r"(?:어|아|여|해|져|네|세|예|에|데|까|게|거든|지|워|와|봐)요(?=[\s,])")
_POLITE_NOUNS = re.compile(r"(필요|중요|주요|수요|소요|개요|동요|민요|(?:대중|인기)가요)$|^고요$")
# Open syllables in ㅝ and ㅕ end contracted 반말: 반가워, 그려, 던져.
_CONTRACTED = (
    "[" + "".join(chr(ord("가") + (lead * 21 + vowel) * 28) for lead in range(19) for vowel in (6, 14)) + "]"
)
_CASUAL = re.compile(
    rf"({_CONTRACTED}|아|어|야|해|돼|지|네|다|냐|니|자|래|라|게|까|걸|군|구나|데|함|음|임|됨|듯|봐|와|놔|가|나|거든|든|고|서|면"
    r"|잖아|더라|려고|러|안녕|응|엉|웅|그래|마|걍|뭐|왜|써|꺼|커|싫|좋"
    r"|파|퍼|빠|뻐|싸|빨개|까매|하얘|노래|파래|뿌예|옴|남|짐|감)$"
)


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
        match = _HANGUL_WORD.search(_TAIL.sub("", sentence))
        if match is None:
            continue
        word = match.group()
        if _POLITE.search(word) and not _POLITE_NOUNS.search(word):
            return "polite"
        if _TRAILING_OFF.search(word) and _POLITE_INSIDE.search(sentence):
            return "polite"
        if _CASUAL.search(word):
            found = "casual"
    return found


def reply_style(conversation: Conversation) -> Style:
    """Return the speech level to answer in: the one set, else the one the user last showed."""
    if conversation.style:
        return conversation.style
    shown = (speech_level(text) for text in reversed(conversation.said("user")))
    return next((level for level in shown if level), "polite")
