"""Exporting a sentence encoder to one int8 ONNX graph: ids in, unit vectors out."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from chatbot.models.encoder import ONNX_GRAPH

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class _Graph(nn.Module):
    """BERT, mean pooling and normalisation as one module, so that nothing is left to do outside."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return float32 ``(batch, hidden)`` of unit length."""
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(pooled, dim=-1)


def exportable(model: SentenceTransformer) -> bool:
    """Tell whether a model is what the graph is made for: a transformer, mean pooling, unit length."""
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    kinds = [type(module) for module in model]
    pooling: Any = model[1] if len(kinds) > 1 else None
    return kinds == [Transformer, Pooling, Normalize] and pooling.pooling_mode in ("mean", ("mean",))


def export_int8(model: SentenceTransformer, folder: Path) -> Path:
    """Write ``folder/onnx/sentence_int8.onnx``: weights in 8 bits, activations quantised as they come.

    Returns the path of the graph.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = folder / ONNX_GRAPH
    target.parent.mkdir(parents=True, exist_ok=True)
    bert: Any = model[0].auto_model  # the transformers model inside
    bert.float().eval()
    bert.config._attn_implementation = "eager"  # the graph of the fused kernel is no faster on a CPU
    example = torch.ones((2, 9), dtype=torch.int64)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exact = Path(scratch) / "exact.onnx"
        axes = {0: "batch", 1: "tokens"}
        torch.onnx.export(
            _Graph(bert).eval(),
            (example, example),
            str(exact),
            input_names=["input_ids", "attention_mask"],
            output_names=["sentence_embedding"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "sentence_embedding": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
        part = target.with_name(target.name + ".part")
        logging.disable(logging.WARNING)  # it advises on the log of everybody
        try:
            quantize_dynamic(exact, part, weight_type=QuantType.QInt8, per_channel=True)
        finally:
            logging.disable(logging.NOTSET)
        graph = onnx.load(str(part))
        entry = graph.metadata_props.add()
        entry.key, entry.value = "max_tokens", str(model.max_seq_length)
        onnx.save(graph, str(part))
        part.replace(target)
    return target
