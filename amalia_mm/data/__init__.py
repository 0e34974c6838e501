"""Shards to batches; knows nothing of models."""
