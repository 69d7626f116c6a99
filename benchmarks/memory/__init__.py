"""What training takes of memory, ours and peers', seen from outside their processes."""
