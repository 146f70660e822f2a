"""Making checkpoints: recipes for the shipped models, evaluation and model cards.

``chatbot`` never imports this package at module level; its command line does so lazily.
"""
