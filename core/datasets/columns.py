"""Which column of a file plays which role, by a given mapping or by common names. Reads no file."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.datasets.problems import shown
from core.errors import InvalidInput

ROLES = ("question", "sql", "instruction", "input", "output", "messages", "split")
KINDS = {  # roles that make a kind, in the order in which kinds are looked for
    "chat": ("messages",),
    "sql": ("question", "sql"),
    "instruction": ("instruction", "output"),
}
_OPTIONAL = {"chat": ("split",), "sql": ("input", "split"), "instruction": ("input", "split")}

# Names by role, the surest first. `query` means SQL beside a question (Spider), else a question.
_MESSAGES = ("messages", "对话", "消息")
_SQL = (
    "sql", "gold_sql", "sql_query", "query_sql", "target_sql", "gold_query", "sql语句", "sql查询",
    "标准sql", "正确sql", "sql答案", "查询语句",
)  # fmt: skip
_QUESTION = (
    "question", "nl_question", "user_question", "natural_language", "nl", "utterance", "问题",
    "用户问题", "提问", "问句", "自然语言", "自然语言问题",
)  # fmt: skip
_QUERY = ("query", "查询")
_INSTRUCTION = ("instruction", "prompt", "指令", "提示", "提示词")
_OUTPUT = (
    "output", "completion", "response", "answer", "target", "输出", "回答", "答案", "回复", "结果",
)  # fmt: skip
_INPUT = ("input", "输入")
_TEXT = ("text", "文本")
_SPLIT = ("split", "划分", "数据划分", "数据集划分")


@dataclass(frozen=True)
class Columns:
    """A file's kind (`sql`, `instruction`, `chat`) and its columns by role."""

    kind: str
    roles: dict[str, str]


def check_mapping(mapping: Mapping[str, str]) -> None:
    """Raises `InvalidInput` for roles that are none, or name no column."""
    for role, column in mapping.items():
        if role not in ROLES:
            raise InvalidInput(
                f"mapping names the role {shown(role)}; the roles are {', '.join(ROLES)}",
                param="mapping",
            )
        if not isinstance(column, str) or not column:
            raise InvalidInput(f"mapping.{role} must name a column", param="mapping")


def find_columns(sample: Sequence[Mapping[str, Any]], mapping: Mapping[str, str]) -> Columns:
    """The columns of a file whose first rows are `sample`.

    What `mapping` says counts; the rest is found by name. Raises `InvalidInput` (code `columns`)
    that names the columns found and the mapping that would be right.
    """
    check_mapping(mapping)
    found = list(dict.fromkeys(name for row in sample for name in row))
    for role, column in mapping.items():
        if column not in found:
            raise _unclear(f"mapping.{role} names {shown(column)}, which is no column", sample)
    rest = [name for name in found if name not in mapping.values()]
    roles = dict(mapping) | _guess(rest, mapping)
    for kind, needed in KINDS.items():
        if all(role in roles for role in needed):
            taken = (*needed, *_OPTIONAL[kind])
            return Columns(kind, {role: roles[role] for role in taken if role in roles})
    raise _unclear("no columns for question and SQL, for instruction and output, or for messages",
                   sample)  # fmt: skip


def _guess(names: Iterable[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Roles beside those of `mapping` for the columns whose names are common."""
    by_name = {_fold(name): name for name in reversed(list(names))}

    def pick(*groups: tuple[str, ...]) -> str | None:
        known = (name for group in groups for name in group)
        return next((by_name.pop(name) for name in known if name in by_name), None)

    roles = {"split": None if "split" in mapping else pick(_SPLIT)}
    given = {role for role in mapping if role != "split"}
    if not given and (messages := pick(_MESSAGES)):
        roles["messages"] = messages
    elif given <= {"question", "sql", "input"}:
        roles |= _guess_pairs(pick, mapping)
    elif given <= {"instruction", "input", "output"}:
        roles["instruction"] = mapping.get("instruction") or pick(
            _INSTRUCTION, _QUESTION, _QUERY, _TEXT, _INPUT
        )
        roles["output"] = mapping.get("output") or pick(_OUTPUT, _SQL)
        roles["input"] = mapping.get("input") or pick(_INPUT)
    return {role: name for role, name in roles.items() if name and role not in mapping}


def _guess_pairs(pick, mapping: Mapping[str, str]) -> dict[str, str | None]:
    """Question and SQL, or, where nothing is called SQL, instruction and output."""
    question, sql = mapping.get("question"), mapping.get("sql")
    sql = sql or pick(_SQL)
    question = question or pick(_QUESTION)
    if question and not sql:
        sql = pick(_QUERY) or (pick(_OUTPUT) if "question" in mapping else None)
    if sql:
        question = question or pick(_QUERY, _INSTRUCTION, _TEXT, _INPUT)
        return {"question": question, "sql": sql, "input": pick(_INPUT)}
    instruction = pick(_INSTRUCTION) or question or pick(_QUERY, _TEXT, _INPUT)
    return {
        "instruction": instruction,
        "output": pick(_OUTPUT),
        "input": mapping.get("input") or pick(_INPUT),
    }


def _fold(name: str) -> str:
    name = unicodedata.normalize("NFKC", name).strip().casefold()
    return re.sub(r"[\s\-]+", "_", name)


def _unclear(message: str, sample: Sequence[Mapping[str, Any]]) -> InvalidInput:
    found = list(dict.fromkeys(name for row in sample for name in row))
    names = ", ".join(shown(name) for name in found[:30]) or "none"
    return InvalidInput(
        f"{message}; columns found: {names}; a mapping such as {_suggest(found, sample)} is right",
        code="columns",
        param="mapping",
    )


def _suggest(found: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> str:
    """The mapping that fits the values: the column with SQL in it, the one with the questions."""
    if lists := [name for name in found if _is_conversation(name, sample)]:
        return f'{{"messages": {shown(lists[0])}}}'
    texts = sorted(
        (name for name in found if _mean_length(name, sample)),
        key=lambda name: -_mean_length(name, sample),
    )
    queries = [name for name in texts if _is_sql(name, sample)]
    others = [name for name in texts if name not in queries]
    # Those that carry a question's name first, then the longest text.
    others.sort(key=lambda name: _fold(name) not in (*_QUESTION, *_QUERY, *_INSTRUCTION, *_TEXT))
    question = shown(others[0]) if others else '"<column>"'
    if queries:
        return f'{{"question": {question}, "sql": {shown(queries[0])}}}'
    output = shown(others[1]) if len(others) > 1 else '"<column>"'
    return f'{{"question": {question}, "sql": {output}}}'


def _values(name: str, sample: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [row[name] for row in sample if row.get(name) is not None]


def _mean_length(name: str, sample: Sequence[Mapping[str, Any]]) -> float:
    values = _values(name, sample)
    if not values or not all(isinstance(value, str) for value in values):
        return 0.0
    return sum(map(len, values)) / len(values)


def _is_sql(name: str, sample: Sequence[Mapping[str, Any]]) -> bool:
    starts = [re.match(r"\s*\(?\s*(select|with)\b", value, re.I) for value in _values(name, sample)]
    return sum(map(bool, starts)) * 2 > len(starts)


def _is_conversation(name: str, sample: Sequence[Mapping[str, Any]]) -> bool:
    values = _values(name, sample)
    return bool(values) and all(
        isinstance(value, list) and value and isinstance(value[0], dict) for value in values
    )
