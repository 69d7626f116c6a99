"""Training against peers: the same rows, weights, adapter, dtype, threads and effective batch."""
