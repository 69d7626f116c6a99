"""What travels between the API and a server: requests, the events of an answer, names of keys.

Plain values, written as JSON. Knows no Redis and no model.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

WAIT_SECONDS = 60.0
"""A request that no server takes for so long is given up."""
ALIVE_SECONDS = 6.0
"""A server that has not shown itself for so long is gone."""
READER_SECONDS = 60.0
"""A stream that nobody reads for so long is deleted, and its answer stops."""

FinishReason = Literal["stop", "length"]
Fault = Literal["request", "platform"]
Token = dict[str, Any]
"""A token with its log probability, as OpenAI shows it."""


@dataclass(frozen=True)
class Chat:
    """A conversation: {role, content} each, the last one the user's."""

    asks_by: ClassVar[str] = "messages"
    messages: list[dict[str, str]]


@dataclass(frozen=True)
class Sql:
    """A question on a database, whose schema is written as a prompt shows it."""

    asks_by: ClassVar[str] = "question"
    question: str
    schema_text: str | None = None
    dialect: str | None = None


@dataclass(frozen=True)
class Request:
    """What is asked, and how an answer is drawn. `stream`: text comes as it is written; an answer
    to `Sql` ends with its statement, which shows only behind it, so it comes whole. `logprobs`: the
    tokens are told too, and so many of the best of each place."""

    prompt: Chat | Sql
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    n: int = 1
    stop: tuple[str, ...] = ()
    stream: bool = False
    logprobs: int | None = None


@dataclass(frozen=True)
class Taken:
    """A server has it now; `by` is the server's own name, under which it shows that it lives."""

    by: str


@dataclass(frozen=True)
class Text:
    """What answer number `index` says next, and which tokens are in it where they are wanted."""

    index: int
    text: str
    tokens: list[Token] | None = None


@dataclass(frozen=True)
class End:
    """Answer number `index` is done; `text` is what of it has not been said yet."""

    index: int
    text: str
    finish_reason: FinishReason
    tokens: list[Token] | None = None


@dataclass(frozen=True)
class Usage:
    """All answers are done: the last event."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Failed:
    """There is no answer, or no more of it: the last event. `fault`: whose it is; `param`: the
    field of the request that is at fault."""

    fault: Fault
    code: str
    message: str
    param: str | None = None


Event = Taken | Text | End | Usage | Failed

_PROMPTS = {kind.__name__.lower(): kind for kind in (Chat, Sql)}
_EVENTS = {kind.__name__.lower(): kind for kind in (Taken, Text, End, Usage, Failed)}


def write_request(request: Request, adapter: str | None) -> str:
    """`adapter`: the storage key of the LoRA weights that shall answer."""
    said = {"prompt": _name(request.prompt), "adapter": adapter, **asdict(request.prompt)}
    how = _given(asdict(request))
    del how["prompt"]
    return json.dumps({"said": said, "how": how}, ensure_ascii=False)


def read_request(text: str) -> tuple[Request, str | None]:
    """Request and adapter. ValueError or TypeError where another version of the platform wrote
    it."""
    written = json.loads(text)
    said, how = dict(written["said"]), dict(written["how"])
    kind, adapter = _PROMPTS[said.pop("prompt")], said.pop("adapter")
    how["stop"] = tuple(how["stop"])
    return Request(prompt=kind(**said), **how), adapter


def write_event(event: Event) -> str:
    # All events are flat: `asdict` would copy each number of each token.
    return json.dumps([_name(event), _given(vars(event))], ensure_ascii=False)


def read_event(text: str) -> Event:
    name, values = json.loads(text)
    return _EVENTS[name](**values)


def requests_key(server: str) -> str:
    """The stream in which requests wait for a server: entries {id, request}."""
    return f"tuneyard:serve:{server}:requests"


def ready_key(server: str) -> str:
    """Is there while any server of this model lives."""
    return f"tuneyard:serve:{server}:ready"


def alive_key(name: str) -> str:
    """Is there while the server of this name lives."""
    return f"tuneyard:server:{name}"


EVENTS = "tuneyard:answer:"


def events_key(request_id: str) -> str:
    """The stream of an answer: entries {event}. It is the client's, who makes it, keeps it alive
    and deletes it; a server writes only while it is there."""
    return EVENTS + request_id


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what is not there: the other side may be of a version that knows no such field."""
    return {name: value for name, value in fields.items() if value is not None}


def _name(value: Any) -> str:
    return type(value).__name__.lower()
