"""Sequences: files, alphabet, corpus, windows. NumPy only."""
