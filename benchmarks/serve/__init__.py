"""Chat over HTTP, as many clients have it, and what HTTP costs a first token."""
