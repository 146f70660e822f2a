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
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from chatbot.knowledge import Entry, load_knowledge, load_listening
from chatbot.models.encoder import Encoder
from training.causal import Curriculum
from training.sets import sets_of
from training.tuning import blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_HEAD = "understanding.pt"
_SCALE = 20.0  # of the cosines in the softmax, as in the encoder's own training
_DISTILLED = 3.0  # what the distance to the encoder's embedding counts beside the softmax
_FITTED_ON = 60  # batches, the first head of a model: some thousand utterances
_RIDGE = 10.0
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
        sets = sets_of(entries, encoder)
        large = sets.sizes >= _SMALLEST_SET
        self.embeddings = torch.from_numpy(sets.embeddings)
        self.sets = torch.from_numpy(np.where(large, np.cumsum(large) - 1, -1)[sets.of])
        self.means = torch.from_numpy(sets.means[large])

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
        self._seen: torch.Tensor | None = None
        self._hook = blocks(model)[layer - 1].register_forward_hook(self._see)

    def _see(self, block: torch.nn.Module, given: Any, states: torch.Tensor) -> None:
        self._seen = states

    def close(self) -> None:
        """Watch the model no more."""
        self._hook.remove()

    def save_head(self, folder: Path) -> None:
        """Write the head beside the model, for a training that goes on from it."""
        torch.save(self.head.data, folder / _HEAD)

    def load_head(self, folder: Path) -> None:
        """Go on with the head beside a model; for one that has none, such as what ships, fit it."""
        try:
            saved = torch.load(folder / _HEAD, weights_only=True, map_location=self.head.device)
        except OSError:
            saved = self._fitted()
        self.head.data.copy_(saved)

    @torch.no_grad()
    def _fitted(self) -> torch.Tensor:
        """Return the head that suits the model as it is: ridge regression on the first utterances it meets.

        Where nothing in the course is known, the head stays as it is.
        """
        gram = _RIDGE * torch.eye(self.head.shape[1])
        wanted = torch.zeros_like(self.head, device="cpu")
        telling = (
            n for n in range(len(self._course)) if (self._lessons.rows(self._course.about(n)) >= 0).any()
        )
        for number in islice(telling, _FITTED_ON):
            ids, reply = self._course[number]
            self.model.base_model(input_ids=ids.to(self.model.device), use_cache=False)
            states, rows = self._openings(number, reply)
            states = states.cpu()
            gram += states.T @ states
            wanted += self._lessons.embeddings[rows].T @ states
        fitted = torch.linalg.solve(gram, wanted, left=False)
        return fitted * self.head.norm().cpu() / fitted.norm() if fitted.any() else self.head

    def _openings(self, number: int, reply: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the normed states where replies begin, ``(n, width)``, and the rows of what was said."""
        assert self._seen is not None
        states, self._seen = self._seen, None
        rows = self._lessons.rows(self._course.about(number))
        places = last_openings(reply).to(states.device)
        known = (rows >= 0).nonzero()[:, 0]
        chosen = states[known.to(states.device), places[known]].float()
        return F.layer_norm(chosen, chosen.shape[-1:]), rows[known]

    def forward(self, number: int, reply: torch.Tensor) -> torch.Tensor:
        """Return the loss of batch ``number`` of the course, which the model has just read.

        ``reply`` is ``(conversations, longest)``, as the course gives it.
        """
        states, rows = self._openings(number, reply)
        if not len(rows):
            return 0 * self.head.sum()
        found = F.normalize(states @ self.head.T, dim=1)
        wanted, sets = self._lessons.embeddings[rows], self._lessons.sets[rows]
        loss = _DISTILLED * (1 - (found * wanted.to(found)).sum(1)).mean()
        if (sets >= 0).any():
            cosines = found @ self._lessons.means.to(found).T
            loss = loss + F.cross_entropy(_SCALE * cosines, sets.to(found.device), ignore_index=-1)
        return self._weight * loss


def last_openings(reply: torch.Tensor) -> torch.Tensor:
    """Return where the bot's marker before the last reply of each conversation stands, int64 ``(n,)``.

    Behind it come the speech level and the words, from where on ``reply``, bool ``(n, longest)``, is true.
    """
    begins = reply.clone()
    begins[:, 1:] &= ~reply[:, :-1]
    return reply.shape[1] - 1 - begins.flip(1).int().argmax(dim=1) - 2
