"""Vocabularies that chance has no part in."""

from __future__ import annotations

import subprocess
import sys

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from training.vocabulary import train_bpe, train_wordpiece

# Every word once, every character equally often but for those of the first word.
TEXTS = ["바다 바다 바다", *(chr(c) + chr(c + 1) for c in range(0xAC00, 0xAC00 + 120, 2))]
LEARN = """
import json, sys
from tests.test_vocabulary import bpe, wordpiece
print(json.dumps([sorted(made.get_vocab().items()) for made in (bpe(), wordpiece())]))
"""


def bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    train_bpe(tokenizer, TEXTS, 100, 40, ["<s>", "<unk>"], always="ㅋㅠ")
    return tokenizer


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    train_wordpiece(tokenizer, [*TEXTS, "TV"], 130, 40, ["[PAD]", "[UNK]"], always="ㅋㅠtv")
    return tokenizer


def test_the_same_text_gives_the_same_vocabulary_in_every_process() -> None:
    def learnt() -> str:
        done = subprocess.run([sys.executable, "-c", LEARN], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert learnt() == learnt()


def test_the_alphabet_is_the_most_frequent_characters_and_those_wanted_always() -> None:
    for made, prefix in ((bpe(), ""), (wordpiece(), "##")):
        known = made.get_vocab()
        single = {piece for piece in known if len(piece) == 1}
        assert {"바", "ㅋ", "ㅠ"} <= single and len(single) == 40
        assert "가" in single and chr(0xAC00 + 119) not in single  # as frequent, later in Unicode
        assert prefix + "다" in known


def test_pieces_are_split_and_joined_as_their_kind_does() -> None:
    assert bpe().encode("바다").tokens == ["▁바다"]
    made = wordpiece()
    assert made.encode("바다 TV").tokens[0] == "바다" and made.encode("TV").tokens == ["tv"]
    assert made.encode("다바ㅋ").tokens == ["[UNK]"]  # 바 never goes on within a word
    assert isinstance(made.model, models.WordPiece) and made.model.max_input_chars_per_word == 40
    assert [made.token_to_id(name) for name in ("[PAD]", "[UNK]")] == [0, 1]


def test_special_tokens_are_special_and_the_alphabet_is_not() -> None:
    made = wordpiece()
    assert {token.content for token in made.get_added_tokens_decoder().values()} == {"[PAD]", "[UNK]"}
    assert "[PAD]" in made.encode("바다[PAD]").tokens and "##다" not in made.encode("##다").tokens
    assert all(token.special for token in made.get_added_tokens_decoder().values())
