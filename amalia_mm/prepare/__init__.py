"""Offline jobs that make tokenizers and shards; never imported by training."""
