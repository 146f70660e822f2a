"""How the shipped models are made from nothing: one command each."""
