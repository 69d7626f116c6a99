"""A prefix in an engine's keeping, put there as a server's requests put it."""

from workers.ml.engine import Engine
from workers.ml.generation import Request
from workers.ml.sampling import Sampling


def warm(engine: Engine, token_ids: list[int], *, adapter: str | None = None) -> None:
    """A request that shares these tokens with later ones, answered with one token."""
    prompt_ids = [*token_ids, token_ids[-1]]
    sampling, shared = Sampling(max_new_tokens=1), len(token_ids)
    engine.submit(Request("warm", prompt_ids, sampling, adapter, shared=shared))
    for completion in engine.run():
        assert completion.error is None, completion.error
