"""Chat exports: any messenger's file in, messages out.

``open_exports`` is the door. What happens with the messages afterwards: ``conversations`` cuts them
into sessions and turns, ``datasets`` keeps them, ``report`` tells what is in them.
"""

from __future__ import annotations

from chatbot.chatlogs.message import Dropped, ExportError, ExportFormat, Message
from chatbot.chatlogs.reading import Export, export_formats, open_exports

__all__ = ["Dropped", "Export", "ExportError", "ExportFormat", "Message", "export_formats", "open_exports"]
