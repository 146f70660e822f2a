"""Writing a fine-tuned encoder: its checkpoint, the graph for the CPU, the card, the figures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chatbot.models.checkpoint import (
    base_licence,
    describe,
    new_checkpoint,
    quiet_transformers,
    read_description,
)
from chatbot.models.encoder import ONNX_GRAPH, OnnxEncoder
from chatbot.models.locate import is_hub_id
from training.model_card import before_and_after
from training.record import Record, draw_curve

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Say = Callable[[str], None]
SMALL = "small"
_SMALL_LICENCE = "CC BY-SA 4.0"
_AGREEMENT = 0.98  # mean cosine of the graph in 8 bits with the model, below which it is left out
_PROBED = 200  # texts


def origin(name: str, folder: Path | None) -> dict[str, Any]:
    """Return whose weights these were and under which licence."""
    if name == SMALL:
        return {"base_model": "chatbot's small Korean encoder", "licence": _SMALL_LICENCE}
    stated = base_licence(folder) if folder else None
    described = read_description(folder).get("base_model") if folder else None
    return {
        "base_model": described or (name if is_hub_id(name) or not folder else folder.name),
        "licence": stated,
    }


def write_encoder(
    out: Path,
    model: SentenceTransformer,
    described: dict[str, Any],
    record: Record,
    texts: Sequence[str],
    say: Say,
) -> None:
    """Write the checkpoint with its graph for the CPU, its card, its figures and its learning curve."""
    with new_checkpoint(out, "encoder") as part:
        with quiet_transformers():
            model.save_pretrained(str(part), create_model_card=False)
        described["onnx_agreement"] = _export(model, part, texts, say)
        describe(part, "encoder", described, _card(described))
        draw_curve(record.rows(), part / "learning_curve.png", "mean")
        shutil.copy(record.path, part / "metrics.jsonl")
        earlier = record.path.with_name("pretraining.jsonl")
        if earlier.exists():
            shutil.copy(earlier, part / earlier.name)


def _export(model: SentenceTransformer, folder: Path, texts: Sequence[str], say: Say) -> float | None:
    """Write the graph in 8 bits for the CPU; return its mean cosine with the model, ``None`` without one."""
    from training.onnx_export import export_int8, exportable

    if not exportable(model):
        say("이 인코더는 빠른 CPU 그래프로 만들 수 없는 구조라서 그대로 두었어요. 쓰는 데는 문제없어요.")
        return None
    export_int8(model, folder)
    probe = list(texts[:: max(1, len(texts) // _PROBED)])
    vectors = OnnxEncoder(folder).encode(probe)
    exact = model.encode(probe, normalize_embeddings=True, show_progress_bar=False)
    agreement = float((vectors * np.asarray(exact, dtype=np.float32)).sum(1).mean())
    if agreement < _AGREEMENT:
        shutil.rmtree((folder / ONNX_GRAPH).parent)
        say(f"8비트로 줄이면 답이 달라져서(일치 {agreement:.3f}) 빠른 CPU 그래프는 넣지 않았어요.")
        return None
    return agreement


def _card(described: dict[str, Any]) -> str:
    """Return the model card: what was trained how, and what it gained."""
    licence = described["licence"]
    front = f"license: {licence.lower().replace(' ', '-')}\n" if licence else ""
    passed_on = (
        f"The base model is under {licence}; these weights are derived from it and stay under that licence."
        if licence
        else "The base model's files state no licence; look it up before you pass these weights on."
    )
    settings = "\n".join(f"| {name} | {value} |" for name, value in described["training"].items())
    examples = ", ".join(f"{number:,} {kind}" for kind, number in described["examples"].items())
    read = described.get("pretraining")
    tables = before_and_after("Plain text", read) if read else ""
    tables += before_and_after("Validation", described) + before_and_after("Test", described["test"])
    return f"""---
language: ko
{front}base_model: {described["base_model"]}
library_name: sentence-transformers
pipeline_tag: sentence-similarity
---

# {described["base_model"]}, fine-tuned by chatbot {described["version"]}

```python
from sentence_transformers import SentenceTransformer

SentenceTransformer("path/to/this/folder").encode(["오늘 너무 피곤해"])
```

`onnx/sentence_int8.onnx`, where it lies here, is the same model in 8 bits, from ids to unit vectors.

## Licence

{passed_on}

## Training

Examples: {examples}.

| setting | value |
|---|---|
{settings}
{tables}"""
