"""A conversation in OpenAI's form becomes examples. Knows no files and no SQL.

    {"messages": [{"role": "system", …}, {"role": "user", …}, {"role": "assistant", …}, …]}

An assistant turn may have a `weight`: 0 is context only, 1 (or none) is learned.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from core.datasets.examples import Example, Findings
from core.datasets.problems import shown, step, type_name

# Each learned turn keeps a copy of the turns before it, so a long conversation grows as a square.
MAX_CONTEXT_CHARACTERS = 8 * 1024 * 1024
_ROLES = ("system", "user", "assistant")
_OTHER_ROLES = {
    "developer": "call it system",
    "human": "call it user",
    "gpt": "call it assistant",
    "bot": "call it assistant",
    "model": "call it assistant",
    "tool": "tools are not supported; write the tool's answer into the next user message",
    "function": "functions are not supported; write the answer into the next user message",
}
_UNSUPPORTED = ("tool_calls", "function_call", "audio")


@dataclass(frozen=True, slots=True)
class _Turn:
    role: str
    content: str
    learned: bool


def conversation_examples(
    value: Mapping[str, Any], column: str, split: str | None, findings: Findings
) -> list[Example]:
    """One example for each learned assistant turn. Raises `BadRow`."""
    for key in ("tools", "functions"):
        if value.get(key):
            findings.add("unsupported", step("$", key), "tools are not supported; leave them out")
    turns = _turns(value, column, findings)
    findings.check()
    _check_order(turns, step("$", column), findings)
    findings.check()
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    return [
        Example(
            line=findings.line,
            question=turns[at - 1].content,
            input="",
            answer=turn.content,
            context=json.dumps(messages[: at - 1], ensure_ascii=False),
            split=split,
        )
        for at, turn in enumerate(turns)
        if turn.learned
    ]


def _turns(value: Mapping[str, Any], column: str, findings: Findings) -> list[_Turn]:
    path = step("$", column)
    messages = value.get(column)
    if isinstance(messages, list) and messages:
        return [_turn(message, step(path, at), findings) for at, message in enumerate(messages)]
    example = '[{"role": "user", "content": …}, {"role": "assistant", "content": …}]'
    if column not in value:
        found = ", ".join(shown(name) for name in list(value)[:10]) or "no keys"
        message = f"{shown(column)} is missing (found {found}); {example} is right"
        findings.add("missing_field", path, message)
    else:
        found = "an empty list" if messages == [] else type_name(messages)
        findings.add("wrong_type", path, f"{found}; a list such as {example} is right")
    return []


def _turn(message: Any, path: str, findings: Findings) -> _Turn:
    """One message. What is returned for a bad one is never used."""
    if not isinstance(message, dict):
        found = type_name(message)
        findings.add("wrong_type", path, f'{found}; {{"role": …, "content": …}} is right')
        return _Turn("", "", False)
    for key in _UNSUPPORTED:
        if message.get(key):
            findings.add("unsupported", step(path, key), "not supported; use role and content")
            return _Turn("", "", False)
    role = message.get("role")
    if role not in _ROLES:
        _bad_role(message, step(path, "role"), findings)
        return _Turn("", "", False)
    content = message.get("content")
    if isinstance(content, list):
        found = "a list of parts; join the texts into one string (images are not supported)"
        findings.add("wrong_type", step(path, "content"), found)
    else:
        content = findings.text(content, step(path, "content"))
    return _Turn(role, content, _is_learned(message, role, step(path, "weight"), findings))


def _bad_role(message: dict[str, Any], path: str, findings: Findings) -> None:
    role = message.get("role")
    advice = _OTHER_ROLES.get(role) if isinstance(role, str) else None
    keys = ", ".join(shown(key) for key in list(message)[:10]) or "no keys"
    found = f"role is {shown(role)}" if "role" in message else f"role is missing (found {keys})"
    findings.add("bad_role", path, f"{found}; {advice or 'system, user or assistant is right'}")


def _is_learned(message: dict[str, Any], role: str, path: str, findings: Findings) -> bool:
    weight = message.get("weight")
    if weight is None:
        return role == "assistant"
    if role != "assistant":
        findings.add("bad_weight", path, f"a {role} turn has no weight; only the assistant's do")
    elif isinstance(weight, bool) or weight not in (0, 1):
        found = f"weight is {shown(weight)}; 0 (not learned) or 1 is right"
        findings.add("bad_weight", path, found)
    return weight == 1


def _check_order(turns: list[_Turn], path: str, findings: Findings) -> None:
    for at, turn in enumerate(turns):
        before = turns[at - 1].role if at else None
        after = "at the start" if before is None else f"after a turn of the {before}"
        place = step(step(path, at), "role")
        if turn.role == "system" and at:
            findings.add("bad_order", place, f"system {after}; it stands first, or not at all")
        elif turn.role == "assistant" and before != "user":
            findings.add("bad_order", place, f"assistant {after}; it follows a user message")
    if turns[-1].role != "assistant":
        place = step(step(path, len(turns) - 1), "role")
        message = f"the last message is of the {turns[-1].role}; end with the assistant's answer"
        findings.add("bad_order", place, message)
    elif not any(turn.learned for turn in turns):
        message = "every assistant turn has weight 0; one with weight 1 at least is right"
        findings.add("nothing_to_learn", path, message)
    lengths = accumulate((len(turn.content) for turn in turns), initial=0)
    context = sum(length for length, turn in zip(lengths, turns, strict=False) if turn.learned)
    if context > MAX_CONTEXT_CHARACTERS:
        message = "the conversation is too long to be learned turn by turn; split it"
        findings.add("too_long", path, message)
