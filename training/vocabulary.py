"""Vocabularies that come out the same each time they are learnt from the same text.

The trainers of ``tokenizers`` go through their characters in the order of a hash table that is seeded anew in
every process: where several characters are equally frequent, chance says which the alphabet keeps, and the
order of the pieces of one character, which says what is merged first when pairs are equally frequent. Here
the alphabet is chosen and put in order beforehand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Tokenizer, models, trainers

JAMO = tuple(map(chr, range(0x3131, 0x3164)))  # typed alone, as in ㅋㅋ and ㅠㅠ
_CONTINUES = "##"


def train_bpe(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    size: int,
    alphabet: int,
    special_tokens: Sequence[str],
    always: Iterable[str] = JAMO,
) -> None:
    """Learn byte-pair merges over characters (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909).

    Args:
        tokenizer: with a ``models.BPE``, its normaliser and pre-tokeniser; changed in place.
        texts: what is learnt from.
        size: pieces in all, the special tokens among them.
        alphabet: characters that are kept, the most frequent ones.
        special_tokens: in the order of their ids, from 0 on.
        always: characters kept however rare they are.
    """
    kept = _alphabet(_words(tokenizer, texts), alphabet, always)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        limit_alphabet=len(kept),
        initial_alphabet=kept,
        special_tokens=list(special_tokens),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)


def train_wordpiece(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    size: int,
    alphabet: int,
    special_tokens: Sequence[str],
    always: Iterable[str] = JAMO,
) -> None:
    """Learn word pieces as BERT's, ``##`` before what goes on within a word; arguments as `train_bpe`'s."""
    words = _words(tokenizer, texts)
    kept = _alphabet(words, alphabet, always)
    within = {character for word in words for character in word[1:]}
    first = [*special_tokens, *kept, *(_CONTINUES + c for c in kept if c in within)]
    # Only special tokens get their ids in a given order: to the trainer the alphabet is that, too.
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        limit_alphabet=len(kept),
        initial_alphabet=kept,
        special_tokens=first,
        continuing_subword_prefix=_CONTINUES,
        show_progress=False,
    )
    asked = tokenizer.model
    learner = Tokenizer(models.WordPiece(unk_token=asked.unk_token))
    if tokenizer.normalizer:
        learner.normalizer = tokenizer.normalizer
    learner.pre_tokenizer = tokenizer.pre_tokenizer
    learner.train_from_iterator(texts, trainer)
    tokenizer.model = models.WordPiece(
        learner.get_vocab(with_added_tokens=True),
        unk_token=asked.unk_token,
        continuing_subword_prefix=_CONTINUES,
        max_input_chars_per_word=asked.max_input_chars_per_word,
    )
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in special_tokens])


def _words(tokenizer: Tokenizer, texts: Sequence[str]) -> Counter[str]:
    """Count the words that a tokeniser makes of texts."""
    words: Counter[str] = Counter()
    for text in texts:
        if tokenizer.normalizer:
            text = tokenizer.normalizer.normalize_str(text)
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text))
    return words


def _alphabet(words: Counter[str], size: int, always: Iterable[str]) -> list[str]:
    """Return the most frequent characters, of equally frequent ones those that come first in Unicode."""
    frequency: Counter[str] = Counter()
    for word, times in words.items():
        for character in word:
            frequency[character] += times
    kept = dict.fromkeys(always)
    for character in sorted(frequency, key=lambda c: (-frequency[c], c)):
        if len(kept) >= size:
            break
        kept[character] = None
    return sorted(kept)
