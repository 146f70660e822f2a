"""Build hook: make the search index of the shipped questions, so that a first reply is quick.

The index is a generated file: it lies in ``data/index`` (not in git) and goes into the wheel with the rest of
``data``, but for what only training needs.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# The reranker runs as its int8 graph everywhere; its weights in float16 are what training goes on from. The
# grades of replies are what it was taught with.
TRAINING_ONLY = {
    Path("data", "models", "reranker", "model.safetensors"),
    Path("data", "ratings", "replies.jsonl"),
}


class IndexHook(BuildHookInterface):
    """Builds ``data/index`` before a wheel or an editable install is made, and adds ``data`` to it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the index unless it is there already, and name the files that go in."""
        if self.target_name != "wheel":
            return
        sys.path.insert(0, self.root)
        try:
            from chatbot.index import Index, index_key, prebuilt_dir
            from chatbot.knowledge import load_knowledge, load_listening
            from chatbot.models.encoder import load_encoder
        finally:
            sys.path.remove(self.root)
        encoder = load_encoder()
        wanted = {index_key(known, encoder): known for known in (load_knowledge(), load_listening())}
        folder = prebuilt_dir()
        for stale in folder.iterdir() if folder.is_dir() else ():
            if stale.name not in wanted:
                shutil.rmtree(stale)
        for key, knowledge in wanted.items():
            if Index.load(folder / key, knowledge.entries, encoder) is None:
                self.app.display_info(f"Indexing {len(knowledge.entries)} questions")
                folder.mkdir(parents=True, exist_ok=True)
                Index.build(knowledge, encoder).save(folder / key)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        root = Path(self.root)
        files = (path.relative_to(root) for path in (root / "data").rglob("*") if path.is_file())
        build_data["force_include"] |= {
            str(root / path): f"chatbot/{path.as_posix()}" for path in files if path not in TRAINING_ONLY
        }
