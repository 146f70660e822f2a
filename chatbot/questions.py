"""Telling an utterance that asks from one that tells, by its surface alone."""

from __future__ import annotations

import re

from chatbot.style import sentences

# What follows the last word without deciding anything: laughter, dots, brackets.
_MARKS = r"[\s.!~…,^;:)\]'\"”’ㄱ-ㅎㅏ-ㅣ]"
_TAIL = re.compile(rf"(?<!{_MARKS}){_MARKS}+$")
_L, _M, _B, _BS, _SS, _N = 8, 16, 17, 18, 20, 4  # final consonants ㄹ ㅁ ㅂ ㅄ ㅆ ㄴ (Unicode, 3.12: Hangul)
# Endings that ask after a syllable that closes so: 할까, 했니, 없나, 인가요. Not 그러니까, 언니, 친구가.
_AFTER_FINAL = (
    (re.compile(r"([가-힣])까요?$"), (_L,)),
    (re.compile(r"([가-힣])니까$"), (_B,)),
    (re.compile(r"([가-힣])[니나]$"), (_SS, _BS)),
    (re.compile(r"([가-힣])가요?$"), (_N,)),
)
_ASKS = re.compile(
    r"(나요|냐|[하되뭐거]니|[되맞]나|어때요?|어쩌[지죠]|어떡하[지죠]|어떡해요?)$"
    r"|(?:^| )(뭐|왜|어디|언제|누구|얼마)요?$"
)
# 눈물이 나요, 또 만나요; 아냐 is no, 뭔가 something.
_DOES_NOT_ASK = re.compile(
    r"(?:^| |화|짜증|생각|눈물|기억|혼|끝|만|겁|신|열|땀|티|탈|빛|불|고장|소문|큰일|난리"
    r"|떠|태어|일어|깨어|늘어|드러|자라)나요$"
    r"|(?:^| )(?:아냐|뭔가|누군가|언젠가|전문가)$"
)
# Words that ask, unless they mean just anything (누군가, 뭐든) or a little (얼마 전).
_WORD = re.compile(
    r"(?<![가-힣])(?:왜(?!냐)|뭐(?!든|라도|랄까|라고)|(?<!그게 )뭐라고|뭘|뭔(?!가)|무엇|무슨"
    r"|어디(?!든|선가)|어딨|언제(?!든|나|부턴가)|누구(?!든|나)|누가|어떻(?!게든)|어케|어떤"
    r"|어느(?! ?(?:정도|새|날))|얼마(?! ?[전안])|몇(?!몇))"
)
# With such a word, these endings ask too: 어디야, 뭐 먹지, 몇 살이죠, 몇 개.
_MAY_ASK = re.compile(r"([야지죠요해어아대래나니데와봐돼줘써져려쳐]|더라|라고)$|몇 ?[가-힣]{1,3}$")
_TELLS = re.compile(
    r"(네요|군요|거든요?|잖아요?|대요|모르겠어요?|몰라요?|궁금해요?|고 ?싶어요?|[주줘]세요"
    r"|[려해어아] ?줘)$"
)


def asks(text: str) -> bool:
    """Tell whether an utterance asks something; requests (``알려 줘``) do not count.

    A question mark decides. Without one, the last word of a sentence does, or a question word before an
    ending that both asks and tells. Korean leaves some open (``누가 왔어``, with or without a rise in the
    voice); these count as questions, and one that nothing marks (``밥 먹었어``) does not.
    """
    return any(_sentence_asks(sentence) for sentence in sentences(text))


def _sentence_asks(sentence: str) -> bool:
    if "?" in sentence or "？" in sentence:
        return True
    bare = _TAIL.sub("", sentence)
    if _DOES_NOT_ASK.search(bare):
        return False
    if _ASKS.search(bare) or any(_closes(bare, *ending) for ending in _AFTER_FINAL):
        return True
    may = _MAY_ASK.search(bare) or _final(bare[-1:]) == _M
    return bool(_WORD.search(bare) and may and not _TELLS.search(bare))


def _closes(text: str, ending: re.Pattern[str], finals: tuple[int, ...]) -> bool:
    found = ending.search(text)
    return found is not None and _final(found[1]) in finals


def _final(syllable: str) -> int:
    """Return the number of a syllable's final consonant; 0 for none, -1 where it is no Hangul syllable."""
    return (ord(syllable) - 0xAC00) % 28 if "가" <= syllable <= "힣" else -1
