"""Batched inference against peers: the same prompts, weights, adapter, dtype and threads."""
