"""The formats themselves, one module each; a module lists what it reads in ``FORMATS``."""

from __future__ import annotations
