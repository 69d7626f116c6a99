"""The cost model of a batch of questions: what a ratio would be if arithmetic were all.

As in `benchmarks.training.costs`, forward alone: a question's own tokens and each token of the
answer pass the layers once, the prefix once for the whole batch; the head runs for each new token.
Left out: attention, and that decoding reads all weights for a few rows, which makes a token of an
answer dearer than one of a prompt.
"""

from benchmarks.training.costs import Cost


def ours(prefix: float, own: float, answer: float, batch: int) -> Cost:
    return Cost(prefix / batch + own + answer, answer, passes=1)


def whole_prompts(prefix: float, own: float, answer: float) -> Cost:
    """The prefix in every prompt; the head on last positions."""
    return Cost(prefix + own + answer, answer, passes=1)
