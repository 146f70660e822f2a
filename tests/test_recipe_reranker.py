"""The reranker's recipe, through its command line and at its smallest size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chatbot.backends.hybrid import KINDS, Decision
from chatbot.models.checkpoint import read_description
from chatbot.models.reranker import Reranker, shipped_reranker
from tests.tiny_corpora import run_recipe, write_corpora
from training.recipes.reranker import SIZES, STEPS


@pytest.mark.slow
@pytest.mark.timeout(900)  # four steps, on machines that may be busy
def test_one_command_makes_a_reranker_and_how_it_is_weighed(tmp_path: Path, home: Path) -> None:
    corpora, work = write_corpora(tmp_path / "corpora"), tmp_path / "work"
    made = run_recipe("reranker", corpora, "--work", str(work), home=home)
    assert made.returncode == 0, made.stderr
    out = work / "reranker"
    described = read_description(out)
    assert set(described["decision"]["weights"]) == set(KINDS)
    assert Decision(**described["decision"]).floor == described["decision"]["floor"]
    assert described["rated"]["nearest"] > 20 and described["training"]["steps"] > 5
    assert "CC BY-SA 4.0" in (out / "README.md").read_text(encoding="utf-8")
    assert (out / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert Reranker(out, "cpu").score(["배고파"], ["뭐 먹을래?"]).shape == (1,)
    again = run_recipe("reranker", corpora, "--work", str(work), home=home)
    assert again.returncode == 0 and again.stderr.count("이미 되어 있어요") == len(STEPS)


def test_the_size_for_the_cpu_is_the_one_that_ships() -> None:
    shipped: dict[str, Any] = read_description(shipped_reranker())["recipe"]
    assert {name: getattr(SIZES["cpu"], name) for name in shipped} == shipped
