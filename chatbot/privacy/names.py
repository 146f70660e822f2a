"""Names of people as Korean uses them: before particles and titles, in a vocative, as a word besides."""

from __future__ import annotations

import re
from collections.abc import Iterable

from chatbot.privacy.folding import fold

# Given names that are words, too: 하늘이 맑다 is about no person.
_COMMON = frozenset(
    re.findall(
        "..",
        "하늘가을여름겨울사랑이슬아름보람새벽소망은총기쁨하나우리보라나라소리바다누리미소노래"
        "진주수지유리나비가람다정지혜은혜진실정의자유평화",
    )
)
_POLITE = " ?(?:씨|님)"
_TITLE = " ?(?:군|양|언니|오빠|누나|선배|후배|선생|쌤|샘|이모|삼촌|대리|과장|팀장|부장|사장)"
_PARTICLE = (
    "(?:한테서?|에게서?|이랑|랑|하고|과|와|은|는|을|를|도|만|의|보다|처럼|까지|부터|네|께서?|이?라고|이?라는)"
)
_COPULA = "(?:이?야|이?에요|예요|입니다|인데|이?지|임)"
_END = "(?![가-힣])"


def name_expression(names: Iterable[str]) -> str:
    """Return an expression for names as Korean uses them, the longest first; nothing without names."""
    forms: dict[str, str] = {}
    for name in names:
        name = fold(name)[0].strip()
        if name:
            forms[name] = _name_forms(name, alone=True)
        if re.fullmatch("[가-힣]{3}", name):
            forms.setdefault(name[1:], _name_forms(name[1:], alone=False))
    longest = sorted(forms, key=len, reverse=True)
    return f"(?<![가-힣A-Za-z])(?:{'|'.join(forms[name] for name in longest)})" if forms else ""


def _name_forms(name: str, alone: bool) -> str:
    """Return an expression for one name, which looks ahead at what may follow it."""
    if not "가" <= name[-1] <= "힣":
        return rf"{re.escape(name)}(?![A-Za-z])"
    closed = (ord(name[-1]) - ord("가")) % 28 > 0  # ends in a consonant: 다빈아, 다빈이가, not 지우야, 지우가
    follow = [f"{'아' if closed else '야'}{_END}", _POLITE]
    if closed:
        follow.append(rf"이(?:{_PARTICLE}|가|야|꺼|거){_END}")
    if name not in _COMMON:
        follow += [_TITLE, rf"(?:{_PARTICLE}|{_COPULA}|{'이' if closed else '가'}){{1,2}}{_END}"]
        if alone:
            follow.append(_END)
    return rf"{re.escape(name)}(?={'|'.join(follow)})"
