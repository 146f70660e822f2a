"""Build hook: make the search index of the shipped questions, so that a first reply is quick.

The index is a generated file: it lies in ``data/index`` (not in git) and goes into the wheel.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class IndexHook(BuildHookInterface):
    """Builds ``data/index`` before a wheel or an editable install is made."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the index unless it is there already."""
        if self.target_name != "wheel":
            return
        sys.path.insert(0, self.root)
        try:
            from chatbot.index import Index, index_key, prebuilt_dir
            from chatbot.knowledge import load_knowledge
            from chatbot.models.encoder import load_encoder
        finally:
            sys.path.remove(self.root)
        knowledge, encoder = load_knowledge(), load_encoder()
        folder = prebuilt_dir() / index_key(knowledge, encoder)
        if Index.load(folder, knowledge.entries, encoder) is None:
            shutil.rmtree(folder.parent, ignore_errors=True)
            self.app.display_info(f"Indexing {len(knowledge.entries)} questions")
            Index.build(knowledge, encoder).save(folder)
            for path in (folder.parent, *folder.rglob("*"), folder):
                path.chmod(0o755 if Path(path).is_dir() else 0o644)
