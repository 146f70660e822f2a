from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chatbot.calibration import leave_one_out
from chatbot.datasets import delete_indexes
from chatbot.index import Index, Sets, index_key, open_index
from chatbot.knowledge import Answers, Entry, Knowledge, follow_ups, labelled_lines, load_knowledge
from chatbot.models.encoder import Progress, Vectors, load_encoder
from chatbot.text import normalise
from chatbot.tfidf import Tfidf


class Counting:
    """The shipped encoder, counting what it encodes."""

    def __init__(self) -> None:
        self._encoder = load_encoder()
        self.name, self.fingerprint, self.notes = "counting", self._encoder.fingerprint, self._encoder.notes
        self.count = 0

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        self.count += len(texts)
        return self._encoder.encode(texts, progress)


@pytest.fixture
def own(tmp_path: Path) -> Knowledge:
    file = tmp_path / "own.csv"
    file.write_text(
        "question,answer\n비가 온다,우산 챙겨\n비 오네,우산 챙겨\n배고파,밥 먹자\n졸려,얼른 자\n",
        encoding="utf-8",
    )
    return load_knowledge(file)


def test_search_is_exact_cosine() -> None:
    knowledge, encoder = load_knowledge(), load_encoder()
    index = open_index(knowledge, encoder)
    query = "요즘 잠이 안 와서 힘들어요"
    vectors = encoder.encode([normalise(e.question) for e in knowledge.entries[::20]])
    expected = vectors.astype(np.float64) @ encoder.encode([query])[0]
    found = index.compare(query)
    assert np.corrcoef(found.dense[::20], expected)[0, 1] > 0.999
    np.testing.assert_allclose(found.dense, index.dense @ encoder.encode([query])[0], atol=1e-6)


def test_cache_is_used_and_memory_mapped(own: Knowledge, home: Path) -> None:
    encoder = Counting()
    first = open_index(own, encoder)
    built = encoder.count
    assert built > 0
    second = open_index(own, encoder)
    assert encoder.count == built
    assert isinstance(second.strangeness.base, np.memmap)
    assert second.calibration == first.calibration
    np.testing.assert_array_equal(second.dense, first.dense)


def test_cache_is_rebuilt_when_data_or_encoder_change(own: Knowledge) -> None:
    encoder = Counting()
    key = index_key(own, encoder)
    changed = Knowledge(own.name, own.entries, "other", own.intents)
    assert index_key(changed, encoder) != key
    encoder.fingerprint = "other"
    assert index_key(own, encoder) != key


@pytest.mark.parametrize("damage", ["index.json", "vectors-steps.npy", "terms.json", "tfidf-steps.npy"])
def test_a_damaged_cache_is_built_anew(own: Knowledge, home: Path, damage: str) -> None:
    encoder = Counting()
    open_index(own, encoder)
    (home / "indexes" / index_key(own, encoder) / damage).write_bytes(b"")
    before = encoder.count
    assert open_index(own, encoder).dense.shape[0] == len(own.entries)
    assert encoder.count > before


def test_a_home_that_cannot_be_written_does_not_stop_it(
    own: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Index, folder: Path, data: str) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Index, "save", refuse)
    assert open_index(own, load_encoder()).compare("비").dense.shape == (4,)


def test_progress_reaches_the_end(own: Knowledge) -> None:
    seen: list[tuple[int, int]] = []
    Index.build(own, load_encoder(), lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(own.entries), len(own.entries))


def test_leave_one_out_takes_answers_with_several_wordings(own: Knowledge) -> None:
    assert {question for question, _, _ in leave_one_out(own.entries)} == {"비가 온다", "비 오네"}


def test_an_utterance_is_compared_with_all_wordings_of_a_set() -> None:
    rain, food = Answers("rain", ("우산",), ("우산",)), Answers("food", ("밥",), ("밥",))
    said = [("비가 온다", rain, ""), ("비 오네", rain, ""), ("배고파", food, ""), ("왜?", food, "밥 먹었어?")]
    entries = [Entry(question, answers, context) for question, answers, context in said]
    angles = np.array([0.0, 0.4, 1.2, 2.0])
    dense = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    tfidf = Tfidf.fit([e.question for e in entries])
    sets = Sets.of(entries, dense, tfidf)
    assert sets.member.tolist() == [0, 0, 1, 2] and sets.sizes.tolist() == [2, 1, 1]
    words = np.stack([tfidf.similarities(e.question) for e in entries])
    for kind, cosines in enumerate((dense @ dense.T, words)):
        np.testing.assert_allclose(sets.cohesion[kind], [cosines[:2, :2].mean(), 1, 1], atol=1e-5)
        near = sets.near(kind, cosines[0])
        np.testing.assert_allclose(near[0], cosines[0, :2].mean() / cosines[:2, :2].mean(), atol=1e-5)
        np.testing.assert_allclose(near[1:], cosines[0, 2:], atol=1e-5)  # alone: its own cosine
        without = sets.without([1, 2], entries, dense, tfidf)
        alone = without.near(kind, cosines[0] * [1, 0, 0, 1])
        # Of the rain its own wording is left, of the food none.
        np.testing.assert_allclose(alone, [1, 0, cosines[0, 3]], atol=1e-5)
    one, other = (Answers("밤 11시", (text,), (text,)) for text in ("그래", "싫어"))  # of one minute
    apart = Sets.of(
        [Entry("갈래?", one), Entry("먹을래?", other)], dense[:2], tfidf.over(["갈래?", "먹을래?"])
    )
    assert apart.sizes.tolist() == [1, 1]


def test_sets_help_where_one_wording_misleads_and_a_left_out_row_counts_for_nothing() -> None:
    index = open_index(load_knowledge(), load_encoder())
    held_out = load_knowledge().held_out("test")[::40]
    found = [(index.compare(text), source) for text, source in held_out]
    assert 0 < index.calibration.set_weight < 1

    def right(**weights: float) -> int:
        fitted = replace(index.calibration, **weights)  # type: ignore[arg-type]
        return sum(index.best(near, "fused", fitted)[1] == source for near, source in found)

    assert right() > right(set_weight=0.0)
    row = next(i for i, e in enumerate(index.entries) if not e.context)
    entry = index.entries[row]
    near, apart = index.compare(entry.question), index.compare(entry.question, left_out=[row])
    whole, without = index.score(near), index.score(apart)
    assert whole.argmax() == row and whole[row] == pytest.approx(1, abs=0.05)
    assert without[row] == -np.inf
    same = [i for i, e in enumerate(index.entries) if e.answers is entry.answers and i != row]
    assert (without[same] <= whole[same]).all()
    number = index.sets.member[row]
    assert apart.dense_sets[number] < near.dense_sets[number]
    assert apart.tfidf_sets[number] < near.tfidf_sets[number]


def test_context_tells_equal_follow_ups_apart() -> None:
    index = open_index(load_knowledge(), load_encoder())
    with_context = [e for e in index.entries if e.context]
    same = [e for e in with_context if e.question.rstrip("?") in ("왜", "왜요")]
    assert len(same) >= 10
    hits = 0
    for entry in same:
        scores = index.score(index.compare(entry.question, entry.context))
        hits += index.entries[int(scores.argmax())].answers.source == entry.answers.source
    assert hits >= 0.9 * len(same)


def test_held_out_follow_ups_are_found_better_with_the_turn_before() -> None:
    index = open_index(load_knowledge(), load_encoder())

    def right(use: bool) -> int:
        calibration = None if use else replace(index.calibration, context_weight=0.0)
        hits = 0
        for item in follow_ups("test"):
            scores = index.score(
                index.compare(item.question, item.context if use else ""), "fused", calibration
            )
            hits += index.entries[int(scores.argmax())].answers.source == item.target
        return hits

    assert right(True) > right(False)


def test_a_first_utterance_is_not_taken_for_a_follow_up() -> None:
    index = open_index(load_knowledge(), load_encoder())
    scores = index.score(index.compare("오늘 너무 피곤해"))
    assert not index.entries[int(scores.argmax())].context


def test_floor_parts_known_from_strange_lines() -> None:
    index = open_index(load_knowledge(), load_encoder())
    floor = index.calibration.floor("fused")
    strange = [text for text, label in labelled_lines("unseen", "dev") if label == "ood"]
    declined = np.mean([index.score(index.compare(text)).max() < floor for text in strange])
    known = [text for text, _ in load_knowledge().held_out("dev")][::10]
    answered = np.mean([index.score(index.compare(text)).max() >= floor for text in known])
    assert declined + answered > 1.2


def test_what_a_killed_process_left_goes_with_its_data(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("question,answer\n비가 온다,우산\n비 오네,우산\n", encoding="utf-8")
    index = Index.build(load_knowledge(pairs), load_encoder())
    monkeypatch.setattr(Tfidf, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        index.save(home / "indexes" / "0123", "서연")
    assert [folder.name for folder in (home / "indexes").iterdir()] == ["0123.part"]
    delete_indexes("서연")
    assert not list((home / "indexes").iterdir())
