"""Readers of speech corpora, one layout a file: each yields rows, and opens no audio."""
