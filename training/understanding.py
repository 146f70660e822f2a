"""Teaching a GPT what an utterance is about, by the sentence encoder: an objective beside the next token.

A small model that learns replies alone takes up a word of what was said and says something about that.
Here its state where it begins to reply is drawn to the encoder's embedding of the utterance (distillation,
Reimers and Gurevych 2020, arXiv:2004.09813), and to the mean embedding of its intent or situation before
all others': an auxiliary classification beside the language model as in Radford et al. (2018) and
TransferTransfo (Wolf et al. 2019, arXiv:1901.08149). The layers above read that state wherever the reply is
written. The finished checkpoint holds nothing of it: the head is thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from chatbot.knowledge import Entry, load_knowledge, load_listening
from chatbot.models.encoder import Encoder
from training.causal import Curriculum

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_HEAD = "understanding.pt"
_SCALE = 20.0  # of the cosines in the softmax, as in the encoder's own training
_DISTILLED = 3.0  # what the distance to the encoder's embedding counts beside the softmax
_SMALLEST_SET = 3  # wordings of an intent or situation that is told apart; fewer say little about its middle


class Lessons:
    """What the encoder says of utterances.

    Args:
        entries: their questions are the utterances; those with the same answers are one set. Of an
            utterance that comes twice the later entry is meant.
        encoder: the teacher.

    ``embeddings`` is ``(n, width)`` of unit length. ``sets`` ``(n,)`` holds the number of each utterance's
    set, -1 where that is small; ``means`` ``(sets, width)`` their mean embeddings, of unit length.
    """

    def __init__(self, entries: Sequence[Entry], encoder: Encoder) -> None:
        self._rows = {entry.question: row for row, entry in enumerate(entries)}
        embeddings = encoder.encode([entry.question for entry in entries])
        _, sets, sizes = np.unique(
            [entry.answers.source for entry in entries], return_inverse=True, return_counts=True
        )
        means = np.zeros((len(sizes), embeddings.shape[1]), dtype=np.float32)
        np.add.at(means, sets, embeddings)
        large = sizes >= _SMALLEST_SET
        self.embeddings = torch.from_numpy(embeddings)
        self.sets = torch.from_numpy(np.where(large, np.cumsum(large) - 1, -1)[sets])
        self.means = F.normalize(torch.from_numpy(means[large]), dim=1)

    def rows(self, utterances: Sequence[str | None]) -> torch.Tensor:
        """Return the row of each utterance, int64 ``(n,)``; -1 where it is not among them."""
        return torch.tensor([-1 if said is None else self._rows.get(said, -1) for said in utterances])


def own_lessons(encoder: Encoder, course: Curriculum) -> Lessons:
    """Return all wordings of every intent and situation that ``course`` has one of, by the words that ship.

    What is both an intent's and a listener's line counts as the intent's.
    """
    said = course.utterances
    known = (load_listening(), load_knowledge())
    entries = [entry for part in known for entry in part.entries if not entry.context]
    met = {entry.answers.source for entry in entries if entry.question in said}
    return Lessons([entry for entry in entries if entry.answers.source in met], encoder)


class Understanding(torch.nn.Module):
    """The loss of a GPT-2 that is to know what was said when it begins to reply.

    Called after the model has read a batch of ``course``; it watches the model until it is closed.

    Args:
        model: what is trained.
        course: its batches, of conversations in our own format.
        lessons: what the encoder says of the utterances in them.
        layer: whose output is drawn to the encoder's embedding, from 1 on.
        weight: what the loss counts beside that of the next tokens.
    """

    def __init__(
        self, model: PreTrainedModel, course: Curriculum, lessons: Lessons, *, layer: int, weight: float
    ) -> None:
        super().__init__()
        self.model = model
        self._course, self._lessons, self._weight = course, lessons, weight
        generator = torch.Generator().manual_seed(layer)  # whatever was drawn before
        head = torch.empty(lessons.embeddings.shape[1], model.config.n_embd)
        self.head = torch.nn.Parameter(torch.nn.init.orthogonal_(head, generator=generator).to(model.device))
        gpt2: Any = model
        self._seen: torch.Tensor | None = None
        self._hook = gpt2.transformer.h[layer - 1].register_forward_hook(self._see)

    def _see(self, block: torch.nn.Module, given: Any, states: torch.Tensor) -> None:
        self._seen = states

    def close(self) -> None:
        """Watch the model no more."""
        self._hook.remove()

    def save_head(self, folder: Path) -> None:
        """Write the head beside the model, for a training that goes on from it."""
        torch.save(self.head.data, folder / _HEAD)

    def load_head(self, folder: Path) -> None:
        """Go on with the head beside a model; one from elsewhere, such as what ships, has none."""
        with suppress(OSError):
            saved = torch.load(folder / _HEAD, weights_only=True, map_location=self.head.device)
            self.head.data.copy_(saved)

    def forward(self, number: int, ids: torch.Tensor, reply: torch.Tensor) -> torch.Tensor:
        """Return the loss of batch ``number`` of the course, which the model has just read.

        ``ids`` and ``reply`` are ``(conversations, longest)``, as the course gives them.
        """
        assert self._seen is not None
        states, self._seen = self._seen, None
        rows = self._lessons.rows(self._course.about(number))
        known = rows >= 0
        if not known.any():
            return 0 * self.head.sum()
        places = last_openings(reply)[known]
        found = self._embedding(states[known.nonzero()[:, 0].to(states.device), places.to(states.device)])
        wanted, sets = self._lessons.embeddings[rows[known]], self._lessons.sets[rows[known]]
        loss = _DISTILLED * (1 - (found * wanted.to(found)).sum(1)).mean()
        if (sets >= 0).any():
            cosines = found @ self._lessons.means.to(found).T
            loss = loss + F.cross_entropy(_SCALE * cosines, sets.to(found.device), ignore_index=-1)
        return self._weight * loss

    def _embedding(self, states: torch.Tensor) -> torch.Tensor:
        """Return what the model makes of utterances, as unit vectors ``(n, width of the encoder)``."""
        return F.normalize(F.layer_norm(states.float(), states.shape[-1:]) @ self.head.T, dim=1)


def last_openings(reply: torch.Tensor) -> torch.Tensor:
    """Return where the bot's marker before the last reply of each conversation stands, int64 ``(n,)``.

    Behind it come the speech level and the words, from where on ``reply``, bool ``(n, longest)``, is true.
    """
    begins = reply.clone()
    begins[:, 1:] &= ~reply[:, :-1]
    return reply.shape[1] - 1 - begins.flip(1).int().argmax(dim=1) - 2
