"""The search index over a knowledge base: dense vectors, TF-IDF, and their fusion.

An index lies in a folder named by the encoder's and the data's fingerprints, the vectors packed, the other
arrays memory-mapped. It holds what was fitted for exactly this encoder on exactly this data: how much each
scorer counts, how much the turn before counts, and the floor under which the best match is no match.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from tokenize import TokenError

import numpy as np
import numpy.typing as npt

from chatbot.calibration import Calibration, Scorer, Scores, calibrate
from chatbot.knowledge import Answers, Entry, Knowledge
from chatbot.models.encoder import Encoder, Progress, Vectors, encode_each
from chatbot.models.ngram import classifier_path, shipped_classifier
from chatbot.resources import data_dir, home_dir, private_dir
from chatbot.spacing import long_runs, shipped_spacing
from chatbot.text import normalise
from chatbot.tfidf import Tfidf, load_terms, mapped

FORMAT = 10
_STEPS = 64  # to the length of a vector: twice as many would cost 6 MB and change nothing
_VERY_WORDS = 0.97  # score from which an utterance is an entry's own, but for a letter
_LEAST_COHESION = 1e-3  # of a set without a single known n-gram
_TOGETHER = 32  # utterances looked up at a time: each holds its cosines with every entry


@dataclass(frozen=True)
class Similarities:
    """Cosines of one utterance with every entry: its own, and those of the turn before.

    Those of the turn before are 0 where the entry has none. ``dense_sets`` and ``tfidf_sets`` hold how near
    it is to each set of wordings with the same answers. ``strangeness`` is how likely the utterance asks
    what no small talk can answer, in 0..1.
    """

    dense: Scores
    tfidf: Scores
    dense_sets: Scores
    tfidf_sets: Scores
    context_dense: Scores
    context_tfidf: Scores
    strangeness: float
    left_out: Sequence[int] = ()  # rows that may not be found and count for no set

    def before(self, share: float) -> Scores:
        """Return how near what was said before is to the context of each entry, by a share of the dense."""
        return share * self.context_dense + (1 - share) * self.context_tfidf


@dataclass(frozen=True)
class Query:
    """What somebody says and the exchange before it, in normal form, with their vectors ``(1 or 2, d)``.

    ``strangeness`` is how likely it asks what no small talk can answer, in 0..1.
    """

    text: str
    context: str
    vectors: Vectors
    strangeness: float


@dataclass(frozen=True)
class Sets:
    """Which wordings have the same answers, and how much alike those of each set are.

    An utterance is as near to a set as the mean of its cosines with the wordings in it, divided by their mean
    cosine with each other: 1 where it might as well be one of them. That is closeness to the mean vector, as
    in prototypical networks (Snell et al. 2017, arXiv:1703.05175), on a scale that goes for tight and for
    loose sets. An entry with a context is a set by itself.

    Attributes:
        member: int32 ``(entries,)``, the set of each entry.
        sizes: float32 ``(sets,)``, how many wordings each has.
        cohesion: float32 ``(2, sets)``, the mean cosine within each, dense and TF-IDF.
    """

    member: npt.NDArray[np.int32]
    sizes: Scores
    cohesion: Scores

    @classmethod
    def of(cls, entries: Sequence[Entry], dense: Vectors, tfidf: Tfidf) -> Sets:
        """Find the sets of ``entries``, whose vectors and n-grams these are."""
        numbers: dict[int | Answers, int] = {}
        keys = (i if e.context else e.answers for i, e in enumerate(entries))
        member = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int32)
        sizes = np.bincount(member, minlength=len(numbers)).astype(np.float32)
        return cls(member, sizes, _cohesion(member, sizes, dense, tfidf))

    def without(self, rows: Sequence[int], entries: Sequence[Entry], dense: Vectors, tfidf: Tfidf) -> Sets:
        """Return the sets as they are if some rows count for none; the rest as for :meth:`of`."""
        sizes, cohesion = self.sizes.copy(), self.cohesion.copy()
        sets = self.member[list(rows)]
        np.subtract.at(sizes, sets, 1)
        for number in np.unique(sets[sizes[sets] > 0]):
            kept = np.setdiff1d(np.flatnonzero(self.member == number), rows)
            words = tfidf.over([normalise(entries[int(row)].question) for row in kept])
            one = np.zeros(len(kept), dtype=np.int32)
            cohesion[:, number] = _cohesion(one, sizes[[number]], dense[kept], words)[:, 0]
        return replace(self, sizes=sizes, cohesion=cohesion)

    def near(self, kind: int, cosines: Scores) -> Scores:
        """Return how near an utterance is to each set, float32 ``(sets,)``; 0 to one without wordings.

        ``cosines`` are those with every entry, 0 for rows that count for none, of ``kind`` 0 dense, 1 TF-IDF.
        """
        sums = np.bincount(self.member, cosines, minlength=len(self.sizes))
        return (sums / np.maximum(self.sizes, 1) / self.cohesion[kind]).astype(np.float32)


def _cohesion(member: npt.NDArray[np.int32], sizes: Scores, dense: Vectors, tfidf: Tfidf) -> Scores:
    """Return the mean cosine within each set, dense and TF-IDF, float32 ``(2, sets)``."""
    sums = np.zeros((len(sizes), dense.shape[1]), dtype=np.float32)
    np.add.at(sums, member, dense)
    together = np.stack([(sums * sums).sum(axis=1), tfidf.squared_sums(member, len(sizes))])
    return np.maximum(together / sizes**2, _LEAST_COHESION).astype(np.float32)


@dataclass(frozen=True)
class Packed:
    """Vectors as they are saved: whole steps along the axes of most variance, one axis after the other.

    Along these few axes hold most of what there is, and the others are nearly 0 all over, so that it takes a
    fifth less once it is compressed (transform coding, Goyal 2001, doi:10.1109/79.952802).

    Attributes:
        steps: int8 ``(d, n)``, no more than 64 to either side.
        scales: float32 ``(n,)``, the length of a step of each vector.
        axes: float32 ``(d, d)``, an axis a column.
    """

    steps: npt.NDArray[np.int8]
    scales: Vectors
    axes: Vectors

    @classmethod
    def of(cls, vectors: Vectors) -> Packed:
        """Pack vectors ``(n, d)``; their cosines are kept to within two hundredths."""
        axes = np.linalg.eigh(vectors.T @ vectors)[1][:, ::-1].astype(np.float32)
        scales = np.linalg.norm(vectors, axis=1).astype(np.float32) / _STEPS
        turned = vectors @ axes / np.where(scales > 0, scales, 1.0)[:, None]
        steps = np.ascontiguousarray(np.round(turned).astype(np.int8).T)
        return cls(steps, scales, np.ascontiguousarray(axes))

    def vectors(self) -> Vectors:
        """Return the vectors, float32 ``(n, d)``."""
        turned = self.axes @ self.steps.astype(np.float32)
        turned *= self.scales
        return turned.T


class Index:
    """Exact search over all entries of a knowledge base."""

    def __init__(
        self,
        entries: Sequence[Entry],
        encoder: Encoder,
        dense: Vectors,
        context: Vectors,
        tfidf: Tfidf,
        context_tfidf: Tfidf,
        strangeness: Scores,
        calibration: Calibration,
        sets: Sets | None = None,
    ) -> None:
        self.entries, self.encoder, self.calibration = entries, encoder, calibration
        self.dense, self.context, self.tfidf, self.context_tfidf = dense, context, tfidf, context_tfidf
        self.strangeness = strangeness
        self.packed: Packed | None = None  # all vectors as they are saved, where they were made to be
        self.has_context = np.array([bool(e.context) for e in entries], dtype=bool)
        self.sets = sets or Sets.of(entries, dense, tfidf)

    @classmethod
    def build(cls, knowledge: Knowledge, encoder: Encoder, progress: Progress | None = None) -> Index:
        """Encode every entry and fit the calibration on development data, where it is to have its own."""
        entries = knowledge.entries
        questions = [e.question for e in entries]
        contexts = [normalise(e.context) for e in entries if e.context]
        packed = Packed.of(encoder.encode(questions + contexts, progress))
        vectors = packed.vectors()  # as they are saved, so that an index serves alike before and after
        tfidf = Tfidf.fit([normalise(q) for q in questions])
        index = cls(
            entries,
            encoder,
            vectors[: len(entries)],
            vectors[len(entries) :],
            tfidf,
            tfidf.over(contexts),
            strangeness(questions),
            Calibration(),
        )
        index.packed = packed
        if not knowledge.beside:
            index.calibration = calibrate(index, knowledge)
        return index

    def beside(self, entries: Sequence[Entry]) -> Index:
        """Index a few more entries by the same measures, without building anything anew."""
        questions = [normalise(e.question) for e in entries]
        contexts = [normalise(e.context) for e in entries if e.context]
        return Index(
            entries,
            self.encoder,
            self.encoder.encode(questions),
            self.encoder.encode(contexts),
            self.tfidf.over(questions),
            self.tfidf.over(contexts),
            strangeness(questions),
            self.calibration,
        )

    def queries(self, said: Sequence[tuple[str, str]], beside: Sequence[Index] = ()) -> list[Query]:
        """Read utterances, each with the exchange before it, once for every index over this encoder.

        Spaces that were left out are put back, but for what this index or one ``beside`` it has without them.
        """
        clean = [(self._spaced(normalise(text), beside), normalise(context)) for text, context in said]
        parts = [part for text, context in clean for part in ((text, context) if context else (text,))]
        vectors = encode_each(self.encoder, parts)
        strange = strangeness([text for text, _ in clean])
        found, start = [], 0
        for (text, context), odd in zip(clean, strange, strict=True):
            end = start + (2 if context else 1)
            found.append(Query(text, context, vectors[start:end], float(odd)))
            start = end
        return found

    def _spaced(self, text: str, beside: Sequence[Index]) -> str:
        runs = set(long_runs(text))
        whole = {run for run in runs if any(run in index.long_runs for index in (self, *beside))}
        return text if runs == whole else shipped_spacing().restore(text, whole)

    @cached_property
    def long_runs(self) -> set[str]:
        """What its questions write together, though it may be several words."""
        return {run for entry in self.entries for run in long_runs(normalise(entry.question))}

    def compare(self, text: str, context: str = "", left_out: Sequence[int] = ()) -> Similarities:
        """Return the cosines of ``text`` (and the exchange before it) with every entry.

        The rows ``left_out`` will not be found, and the others of their sets are compared as if without them.
        """
        return next(self._similarities(self.queries([(text, context)]), left_out))

    def look_up(self, queries: Sequence[Query]) -> Iterator[Similarities]:
        """Yield the cosines of utterances that were read already with every entry, worked out in batches."""
        for first in range(0, len(queries), _TOGETHER):
            yield from self._similarities(queries[first : first + _TOGETHER])

    def _similarities(self, queries: Sequence[Query], left_out: Sequence[int] = ()) -> Iterator[Similarities]:
        sets = self.sets
        if len(left_out):
            sets = sets.without(left_out, self.entries, self.dense, self.tfidf)
        own = np.stack([query.vectors[0] for query in queries]) @ self.dense.T
        followed = [query for query in queries if query.context]
        if followed:
            before = iter(np.stack([query.vectors[1] for query in followed]) @ self.context.T)
        for query, dense in zip(queries, own, strict=True):
            before_dense, before_tfidf = np.zeros((2, len(self.entries)), dtype=np.float32)
            if query.context:
                before_dense[self.has_context] = next(before)
                before_tfidf[self.has_context] = self.context_tfidf.similarities(query.context)
            words = self.tfidf.similarities(query.text)
            near = sets.near(0, _without(dense, left_out)), sets.near(1, _without(words, left_out))
            yield Similarities(dense, words, *near, before_dense, before_tfidf, query.strangeness, left_out)

    def score(
        self,
        found: Similarities,
        scorer: Scorer = "fused",
        calibration: Calibration | None = None,
    ) -> Scores:
        """Return one float32 score an entry; those with a context gain or lose by how well it fits.

        ``"tfidf"`` is the yardstick: the plain cosine with every entry by itself. What was left out of the
        comparison scores minus infinity.
        """
        fitted = calibration or self.calibration
        own = self.own_scores(found, scorer, fitted)
        bonus = fitted.context_weight * (found.before(fitted.share(scorer)) - fitted.context_pivot)
        scores = np.where(self.has_context, own + bonus, own).astype(np.float32)
        scores[list(found.left_out)] = -np.inf
        return scores

    def own_scores(self, found: Similarities, scorer: Scorer, fitted: Calibration) -> Scores:
        """Return the scores for what was said itself, without what was said before."""
        weight = fitted.share(scorer)
        own = weight * found.dense + (1 - weight) * found.tfidf
        if fitted.set_weight and scorer != "tfidf":
            sets = weight * found.dense_sets + (1 - weight) * found.tfidf_sets
            other_words = own < _VERY_WORDS  # in an entry's very words nothing else needs to be asked
            own += fitted.set_weight * other_words * (np.minimum(sets, 1)[self.sets.member] - own)
        return own - fitted.unknown_weight * np.maximum(found.strangeness - self.strangeness, 0)

    def best(
        self,
        found: Similarities,
        scorer: Scorer = "fused",
        calibration: Calibration | None = None,
    ) -> tuple[float, str]:
        """Return the best score and the source of its answer."""
        scores = self.score(found, scorer, calibration)
        top = int(scores.argmax())
        return float(scores[top]), self.entries[top].answers.source

    def save(self, folder: Path, data: str = "") -> None:
        """Write the index, whole or not at all; ``data`` names the dataset it goes with."""
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        private_dir(part)
        facts = {
            "format": FORMAT,
            "data": data,
            "entries": len(self.entries),
            "calibration": asdict(self.calibration),
        }
        # First, so that what is left of a killed process is known to belong to its data, and goes with it.
        (part / "index.json").write_text(json.dumps(facts), encoding="utf-8")
        packed = self.packed or Packed.of(np.concatenate([self.dense, self.context]))
        for name, array in vars(packed).items():
            np.save(part / f"vectors-{name}.npy", array)
        np.save(part / "strangeness.npy", self.strangeness)
        for name, array in vars(self.sets).items():
            np.save(part / f"sets-{name}.npy", array)
        self.tfidf.save(part, "tfidf")
        self.context_tfidf.save(part, "context-tfidf")
        for path in part.iterdir():
            path.chmod(0o600)
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)

    @classmethod
    def load(cls, folder: Path, entries: Sequence[Entry], encoder: Encoder) -> Index | None:
        """Open a saved index; ``None`` where it is missing, damaged or of another format."""
        try:
            facts = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            if facts["format"] != FORMAT or facts["entries"] != len(entries):
                return None
            packed = Packed(**{f.name: np.load(folder / f"vectors-{f.name}.npy") for f in fields(Packed)})
            dense, context = np.split(packed.vectors(), [len(entries)])
            if len(context) != sum(bool(entry.context) for entry in entries):
                return None  # made when the same lines were read in another way
            terms = load_terms(folder)
            return cls(
                entries,
                encoder,
                dense,
                context,
                Tfidf.load(folder, "tfidf", len(entries), terms),
                Tfidf.load(folder, "context-tfidf", len(context), terms),
                mapped(folder / "strangeness.npy"),
                Calibration(**facts["calibration"]),
                Sets(**{f.name: mapped(folder / f"sets-{f.name}.npy") for f in fields(Sets)}),
            )
        except (OSError, EOFError, ValueError, KeyError, TypeError, SyntaxError, TokenError):
            return None


def _without(cosines: Scores, rows: Sequence[int]) -> Scores:
    """Return cosines with every entry, 0 for some rows."""
    if len(rows):
        cosines = cosines.copy()
        cosines[list(rows)] = 0
    return cosines


def open_index(knowledge: Knowledge, encoder: Encoder, progress: Progress | None = None) -> Index:
    """Return the index of ``knowledge``: prebuilt, cached, or built now and cached.

    Where the cache cannot be written the index serves from memory.
    """
    key = index_key(knowledge, encoder)
    for folder in (prebuilt_dir() / key, home_dir() / "indexes" / key):
        index = Index.load(folder, knowledge.entries, encoder)
        if index is not None:
            return index
    index = Index.build(knowledge, encoder, progress)
    try:
        private_dir(home_dir() / "indexes")
        index.save(home_dir() / "indexes" / key, knowledge.name)
    except OSError:
        pass
    return index


def index_key(knowledge: Knowledge, encoder: Encoder) -> str:
    """Name the index of this data by this encoder."""
    fitted_on = hashlib.sha256()
    for name in ("unseen", "followups"):
        fitted_on.update((data_dir() / "eval" / f"{name}.jsonl").read_bytes())
    if classifier_path("unknown").is_file():
        fitted_on.update(classifier_path("unknown").read_bytes())
    together = f"{FORMAT}/{encoder.fingerprint}/{knowledge.fingerprint}/{fitted_on.hexdigest()}"
    return hashlib.sha256(together.encode()).hexdigest()[:20]


def prebuilt_dir() -> Path:
    """Return where the index of the shipped set lies, made when the wheel is built."""
    return data_dir() / "index"


def strangeness(texts: Sequence[str]) -> Scores:
    """Return how likely each text asks for facts, live data or computing, float32 in 0..1."""
    classifier = shipped_classifier("unknown")
    if classifier is None:
        return np.zeros(len(texts), dtype=np.float32)
    odds = np.array([classifier.judge(text)[0] for text in texts], dtype=np.float64)
    return (1 / (1 + np.exp(-odds))).astype(np.float32)
