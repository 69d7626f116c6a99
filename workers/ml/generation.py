"""What a generation engine is to those that use it: requests in, completions out. Knows no engine.

`workers.ml.engine` is the one of this project, `workers.ml.vllm_engine` puts vLLM behind the same
words.
"""

from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from workers.ml.drafts import Heard
from workers.ml.sampling import Sampling
from workers.ml.scores import Score


@dataclass(frozen=True)
class Request:
    """`id` is the caller's; it comes back with the completion. `adapter`: one that the engine has
    loaded under this name; None is the model as it is. `heard`: other answers, parts of which this
    one may repeat; its own is added to them. `shared`: so many of its first tokens later prompts
    begin with too. Both change how fast it is answered, not what is said.
    """

    id: Hashable
    prompt_ids: list[int]
    sampling: Sampling = field(default_factory=Sampling)
    adapter: str | None = None
    heard: Heard | None = None
    shared: int = 0


class Problem(NamedTuple):
    """Why this request alone has no answer: its prompt is of no use (`prompt_too_long`: mostly for
    that), or the model computed NaN or infinity behind it (`not_finite`)."""

    klass: Literal["prompt_too_long", "not_finite"]
    message: str


NOT_FINITE = Problem(
    "not_finite",
    "the model computed no numbers (NaN or infinity) in answering this; in precision fp16, which "
    "ends at 65,504, bf16 or fp32 may do, else its weights or the adapter's are broken",
)


@dataclass(frozen=True)
class Completion:
    """`text` without end tokens and stop strings. `latency_seconds`: from entering to the end.
    `index`: which of the request's `n` answers it is. `scores`: of `token_ids`, if they are wanted.

    finish_reason: `stop` (end token, stop string or end of the statement), `length`, or `error`;
    one with an `error` is the request's last.
    """

    id: Hashable
    token_ids: list[int]
    text: str
    prompt_tokens: int
    completion_tokens: int
    latency_seconds: float
    finish_reason: str
    error: Problem | None = None
    index: int = 0
    scores: Sequence[Score] = ()


class Unfinished(NamedTuple):
    """What answer `index` to a request has said so far."""

    id: Hashable
    index: int
    token_ids: list[int]
    scores: list[Score]


@dataclass
class Counts:
    """What was computed. `trunk_tokens` went through the layers (prefixes included), `head_tokens`
    through the LM head; `prefix_tokens` are those of the `prefixes` that were computed,
    `accepted_tokens` those of `drafted_tokens` that held. `copied_bytes`: of rows' keys and values.
    """

    prefixes: int = 0
    prefix_tokens: int = 0
    trunk_tokens: int = 0
    head_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    copied_bytes: int = 0
    steps: int = 0


class GenerationEngine(Protocol):
    """One thread at a time."""

    counts: Counts

    def generate(
        self, requests: Iterable[Request], *, on_step: Callable[[], None] | None = None
    ) -> Iterator[Completion]:
        """Completions as they finish, in any order. `on_step` is called after every step and may
        raise to stop the work."""

    def load_adapter(self, name: str, directory: Path) -> None:
        """Makes a LoRA adapter (PEFT's format) ready for requests that name it; JobFailure (config)
        where it is hostile, does not fit or the name is taken."""

    def unload_adapter(self, name: str) -> None:
        """Lets go of an adapter. JobFailure (config) while a request needs it."""


def problem_of(
    request: Request, *, context_length: int, adapters: Container[str | None]
) -> Problem | None:
    """Why it can't be asked; None if it can. `adapters`: the names of those that are loaded."""
    count = len(request.prompt_ids)
    if not count:
        message = "the prompt is empty"
    elif count >= context_length:
        message = f"the prompt has {count} tokens; the model takes fewer than {context_length}"
    elif request.adapter is not None and request.adapter not in adapters:
        message = f"no adapter {request.adapter!r} is loaded"
    else:
        return None
    return Problem("prompt_too_long", message)


def refusal(request: Request, problem: Problem) -> Completion:
    """The completion of a request that can't be answered; the others are not concerned."""
    return Completion(request.id, [], "", len(request.prompt_ids), 0, 0.0, "error", problem)
