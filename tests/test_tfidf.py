from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from chatbot.knowledge import load_knowledge
from chatbot.tfidf import Tfidf, load_terms

QUERIES = ["오늘 너무 피곤해", "  두  칸  ", "", "ㅋㅋ", "a", "ABC 가나다", "없는말 뷁뷁", "가\n나"]


def test_equals_scikit_learn() -> None:
    texts = [entry.question for entry in load_knowledge().entries][:1500]
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), sublinear_tf=True)
    matrix = vectorizer.fit_transform(texts)
    ours = Tfidf.fit(texts)
    assert ours.terms == vectorizer.vocabulary_
    for query in QUERIES + texts[::97]:
        theirs = (matrix @ vectorizer.transform([query]).T).toarray()[:, 0]
        np.testing.assert_allclose(ours.similarities(query), theirs, atol=1e-5)


def test_other_texts_are_weighed_by_the_same_rarities() -> None:
    fitted = Tfidf.fit(["비가 와요", "눈이 와요", "배가 고파요"])
    beside = fitted.over(["비가 와요"])
    np.testing.assert_allclose(
        beside.similarities("비가 오네"), fitted.similarities("비가 오네")[:1], atol=1e-6
    )
    assert fitted.over([]).similarities("비").shape == (0,)


def test_saved_and_opened_it_is_the_same(tmp_path: Path) -> None:
    fitted = Tfidf.fit(["비가 와요", "눈이 와요"])
    fitted.save(tmp_path, "x")
    opened = Tfidf.load(tmp_path, "x", 2, load_terms(tmp_path))
    np.testing.assert_array_equal(opened.rows, fitted.rows)
    np.testing.assert_array_equal(opened.weights, fitted.weights)
    assert isinstance(opened.starts.base, np.memmap)
    np.testing.assert_array_equal(opened.similarities("비가 와"), fitted.similarities("비가 와"))
