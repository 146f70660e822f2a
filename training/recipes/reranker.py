"""The small Korean reranker, from the encoder that ships to the files that ship.

    python -m training.recipes.reranker --corpora DIR --out data/models/reranker

does everything in order: ``follow`` (what follows what, and which replies are good), ``export``, ``decide``
(how the hybrid backend weighs its scores), ``card``. Stopped and started again it goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import typer

from chatbot.dialogue import Turn
from chatbot.knowledge import held_out_dialogues
from chatbot.models.checkpoint import describe
from chatbot.models.encoder import Encoder, load_encoder, shipped_encoder
from chatbot.models.reranker import Reranker, context_text
from training.corpora import CHAT
from training.rankings import following, graded, next_turns, picked
from training.recipes import steps as common
from training.recipes.contrast import export_encoder, train_by_contrast
from training.recipes.steps import Job, Step, machine, open_to_all, recipe_app

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SAVE_STEPS = 50
AMONG = 10  # replies that the true next turn is sought among


@dataclass(frozen=True)
class Recipe(common.Recipe):
    """Everything that decides what the reranker becomes; as it stands, the one that ships."""

    minutes: float = 0  # of pretraining: the encoder has had it
    seed: int = 20261122
    epochs: int = 1
    # multiple negatives ranking on what follows what, CoSENT (Su 2022) on graded replies
    batch: int = 128
    learning_rate: float = 3e-4
    temperature_scale: float = 20.0
    max_tokens: int = 64
    pairs: int = 24_000  # of an epoch
    conversations_weighed: int = 1  # of so many graded ones one


SIZES = {
    "cpu": Recipe(),
    "gpu": Recipe(epochs=4, batch=256),
    "smoke": Recipe(batch=16, pairs=100, conversations_weighed=10),
}


def follow(job: Job[Recipe]) -> dict[str, Any]:
    """Teach the encoder to put a reply near what it answers, the nearer the better it was graded."""
    recipe = job.recipe
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _open(job, device)
    pairs = [
        pair
        for epoch in range(recipe.epochs)
        for pair in following(job.corpora, recipe.seed + epoch)[: recipe.pairs]
    ]
    grades = [
        (context_text(g.turns), reply.text, reply.grade) for g in graded("train") for reply in g.replies
    ][: recipe.pairs]
    steps = train_by_contrast(
        model, pairs, grades, job.work / "follow-state" / job.identity,
        device=device, seed=recipe.seed, batch=recipe.batch, scale=recipe.temperature_scale,
        learning_rate=recipe.learning_rate, save_every=SAVE_STEPS,
    )  # fmt: skip
    model.save_pretrained(str(job.work / "followed"), create_model_card=False)
    return {"steps": steps, "pairs": len(pairs), "graded": len(grades), "machine": machine()}


def _open(job: Job[Recipe], device: str) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    torch.manual_seed(job.recipe.seed)  # of the pooler, which nobody trains
    model = SentenceTransformer(str(job.base or shipped_encoder()), device=device).float()
    model.max_seq_length = job.recipe.max_tokens
    return model


def export(job: Job[Recipe]) -> dict[str, Any]:
    """Write what ships: a float16 sentence-transformers checkpoint and an int8 ONNX graph."""
    export_encoder(job.work / "followed", job.out, "reranker")
    return {}


def decide(job: Job[Recipe]) -> dict[str, Any]:
    """Fit how the hybrid backend weighs its candidates, and write it beside the reranker."""
    from chatbot.backends.hybrid import HybridBackend
    from training.decision import fit_decision

    backend = HybridBackend(device="cpu", reranker=str(job.out))
    decision, rated = fit_decision(backend, graded("dev")[:: job.recipe.conversations_weighed])
    facts = {"decision": asdict(decision), "rated": rated}
    describe(job.out, "reranker", facts, "")
    open_to_all(job.out)
    return facts


def measure(reranker: Reranker, encoder: Encoder, seed: int) -> dict[str, Any]:
    """Return how often each finds the true next turn among ten, in 0..1.

    The encoder's cosine is taken with the last turn alone and with what the reranker reads.
    """
    cosine = partial(_cosine, encoder)
    items = {half: next_turns(held_out_dialogues(half), AMONG, seed) for half in ("dev", "test")}
    return {
        "among": AMONG,
        "contexts": {half: len(found) for half, found in items.items()},
        "reranker": {half: picked(found, reranker.score) for half, found in items.items()},
        "encoder": {half: picked(found, cosine) for half, found in items.items()},
        "encoder_last_turn": {half: picked(found, cosine, _last_turn) for half, found in items.items()},
    }


def _last_turn(turns: Sequence[Turn]) -> str:
    return turns[-1].text


def _cosine(encoder: Encoder, contexts: list[str], replies: list[str]) -> np.ndarray:
    unique = list(dict.fromkeys([*contexts, *replies]))
    rows = dict(zip(unique, encoder.encode(unique), strict=True))
    return np.array([rows[c] @ rows[r] for c, r in zip(contexts, replies, strict=True)])


def card(job: Job[Recipe]) -> dict[str, Any]:
    """Measure what ships and write its model card."""
    from training.model_card import write_reranker_card

    facts = {
        "recipe": asdict(job.recipe),
        "training": job.facts("follow"),
        **job.facts("decide"),
        "metrics": measure(Reranker(job.out, "cpu"), load_encoder(None, "cpu"), job.recipe.seed),
    }
    write_reranker_card(job.out, facts)
    typer.echo(json.dumps(facts["metrics"], ensure_ascii=False, indent=2))
    return {}


STEPS: list[Step[Recipe]] = [
    Step(
        "follow",
        follow,
        ("epochs", "batch", "learning_rate", "temperature_scale", "max_tokens", "pairs"),
        lambda recipe: CHAT,
        ("qa", "dialogues", "listening", "ratings", "models/encoder"),
    ),
    Step("export", export, ships=True),
    Step("decide", decide, data=("qa", "dialogues", "listening", "ratings", "models/encoder"), ships=True),
    Step("card", card, data=("eval", "models/encoder")),
]
app = recipe_app("reranker", SIZES, STEPS, "함께 나가는 작은 한국어 재순위 모델을 인코더에서 만들기.")

if __name__ == "__main__":
    app()
