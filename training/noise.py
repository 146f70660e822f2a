"""Noise that people make when they type Korean, as augmentation for contrastive training."""

from __future__ import annotations

import random
import re

_PARTICLES = re.compile(r"(?<=[가-힣]{2})(은|는|이|가|을|를|에서|에게|한테|도)(?=\s)")
_TAILS = ("ㅋㅋ", "ㅋㅋㅋ", "ㅎㅎ", "ㅠㅠ", "ㅜㅜ", "...", "..", "~", "!", "?")
_JUNGSEONG, _JONGSEONG = 21, 28  # vowels and final consonants of a precomposed syllable (Unicode 3.12)


def noisy(text: str, rng: random.Random) -> str:
    """Return ``text`` as a hurried typist might send it: one or two slips, never empty."""
    for slip in rng.sample(_SLIPS, rng.choice((1, 1, 2))):
        text = slip(text, rng)
    return text


def _drop_spaces(text: str, rng: random.Random) -> str:
    keep = rng.choice((0.0, 0.5))
    return "".join(c for c in text if c != " " or rng.random() < keep)


def _drop_particles(text: str, rng: random.Random) -> str:
    return _PARTICLES.sub(lambda m: "" if rng.random() < 0.7 else m.group(), text)


def _add_tail(text: str, rng: random.Random) -> str:
    return text.rstrip(".!?~ ") + rng.choice(("", " ")) + rng.choice(_TAILS)


def _typo(text: str, rng: random.Random) -> str:
    """Change the vowel or drop the final consonant of one syllable, or swap two neighbours."""
    places = [i for i, c in enumerate(text) if "가" <= c <= "힣"]
    if len(places) < 3:
        return text
    i = rng.choice(places)
    if rng.random() < 0.25 and i + 1 < len(text):
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    lead, rest = divmod(ord(text[i]) - ord("가"), _JUNGSEONG * _JONGSEONG)
    vowel, final = divmod(rest, _JONGSEONG)
    if final and rng.random() < 0.5:
        final = 0
    else:
        vowel = (vowel + rng.choice((-1, 1))) % _JUNGSEONG
    code = ord("가") + (lead * _JUNGSEONG + vowel) * _JONGSEONG + final
    return text[:i] + chr(code) + text[i + 1 :]


def _drop_punctuation(text: str, rng: random.Random) -> str:
    return text.rstrip(".!?~ ") or text


_SLIPS = (_drop_spaces, _drop_particles, _add_tail, _typo, _drop_punctuation)
