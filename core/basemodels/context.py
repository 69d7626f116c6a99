"""How many tokens a base model takes, by its config. Knows no file and no torch."""

from collections.abc import Mapping
from typing import Any

DEFAULT_CONTEXT = 2048


def context_length(config: Mapping[str, Any]) -> int:
    """Tokens that a model takes. Of RoPE's kind `longrope` only those that its short factors are
    for: it takes the long ones for a whole step as soon as one row needs them, so that one answer
    would depend on another, and a schema's kept keys be of the other kind."""
    most = int(config.get("max_position_embeddings") or DEFAULT_CONTEXT)
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if "longrope" not in (rope.get("rope_type"), rope.get("type")):
        return most
    short = rope.get("original_max_position_embeddings")
    return min(most, int(short or config.get("original_max_position_embeddings") or most))
