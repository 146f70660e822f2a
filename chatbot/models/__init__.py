"""The neural parts, loaded once; no dialogue logic."""
