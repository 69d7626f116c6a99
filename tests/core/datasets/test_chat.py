"""Conversations become one example for each assistant turn that is to be learned."""

import json

import pytest

from core.datasets import chat
from core.datasets.columns import Columns
from core.datasets.convert import to_examples
from core.datasets.examples import BadRow

CHAT = Columns("chat", {"messages": "messages"})


def turns(*pairs: tuple) -> list[dict]:
    return [
        {"role": role, "content": content} | ({"weight": rest[0]} if rest else {})
        for role, content, *rest in pairs
    ]


def examples(*pairs: tuple) -> list:
    return to_examples(3, {"messages": turns(*pairs)}, CHAT)


def problems(messages: object, **more) -> list[tuple[str, str]]:
    with pytest.raises(BadRow) as caught:
        to_examples(3, {"messages": messages} | more, CHAT)
    return [(problem.code, problem.path) for problem in caught.value.problems]


def test_single_turn_has_an_empty_context():
    (example,) = examples(("user", "你好"), ("assistant", " hi "))
    assert (example.question, example.answer, example.context) == ("你好", " hi ", "[]")


def test_each_assistant_turn_is_an_example_with_what_came_before():
    talk = [
        ("system", "brief"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("assistant", "d"),
    ]
    first, second = examples(*talk)
    assert (first.question, first.answer) == ("a", "b")
    assert json.loads(first.context) == turns(talk[0])
    assert (second.question, second.answer) == ("c", "d")
    assert json.loads(second.context) == turns(*talk[:3])
    assert first.line == second.line == 3


def test_weight_zero_is_context_only():
    talk = [("user", "a"), ("assistant", "b", 0), ("user", "c"), ("assistant", "d", 1)]
    (example,) = examples(*talk)
    assert example.answer == "d"
    assert json.loads(example.context)[1] == {"role": "assistant", "content": "b"}


def test_null_weight_and_a_name_are_fine():
    messages = turns(("user", "a"), ("assistant", "b", None))
    messages[0]["name"] = "Ann"
    assert len(to_examples(1, {"messages": messages}, CHAT)) == 1


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], [("wrong_type", "$.messages")]),
        (None, [("wrong_type", "$.messages")]),
        ("hi", [("wrong_type", "$.messages")]),
        (["hi"], [("wrong_type", "$.messages[0]")]),
        ([{"content": "a"}], [("bad_role", "$.messages[0].role")]),
        (turns(("user", "a"), ("human", "b")), [("bad_role", "$.messages[1].role")]),
        (turns(("user", "a"), ("tool", "b")), [("bad_role", "$.messages[1].role")]),
        (turns(("user", ""), ("assistant", None)),
         [("empty_field", "$.messages[0].content"), ("wrong_type", "$.messages[1].content")]),
        (turns(("user", [{"type": "text", "text": "a"}]), ("assistant", "b")),
         [("wrong_type", "$.messages[0].content")]),
        (turns(("user", "a"), ("assistant", "b", 0.5)), [("bad_weight", "$.messages[1].weight")]),
        (turns(("user", "a"), ("assistant", "b", True)), [("bad_weight", "$.messages[1].weight")]),
        (turns(("user", "a", 1), ("assistant", "b")), [("bad_weight", "$.messages[0].weight")]),
        (turns(("user", "a"), ("assistant", "b"), ("user", "c")),
         [("bad_order", "$.messages[2].role")]),
        (turns(("assistant", "b")), [("bad_order", "$.messages[0].role")]),
        (turns(("user", "a"), ("assistant", "b"), ("assistant", "c")),
         [("bad_order", "$.messages[2].role")]),
        (turns(("user", "a"), ("system", "s"), ("user", "a"), ("assistant", "b")),
         [("bad_order", "$.messages[1].role")]),
        (turns(("user", "a"), ("assistant", "b", 0)), [("nothing_to_learn", "$.messages")]),
        ([{"role": "user", "content": "a"},
          {"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]}],
         [("unsupported", "$.messages[1].tool_calls")]),
    ],
)  # fmt: skip
def test_bad_conversations_are_told_with_the_path(messages, expected):
    assert problems(messages) == expected


def test_tools_of_a_row_are_not_supported_but_an_empty_list_of_them_is_fine():
    good = turns(("user", "a"), ("assistant", "b"))
    assert problems(good, tools=[{"type": "function"}]) == [("unsupported", "$.tools")]
    assert to_examples(1, {"messages": good, "tools": []}, CHAT)


def test_message_of_a_foreign_role_says_what_to_call_it():
    with pytest.raises(BadRow, match='role is "gpt"; call it assistant'):
        examples(("user", "a"), ("gpt", "b"))
    with pytest.raises(BadRow, match='role is missing .found "from", "value"'):
        to_examples(1, {"messages": [{"from": "human", "value": "x"}]}, CHAT)


def test_conversation_whose_prefixes_would_fill_the_disk_is_refused(monkeypatch):
    monkeypatch.setattr(chat, "MAX_CONTEXT_CHARACTERS", 10_000)
    talk = [("user", "x" * 50), ("assistant", "y" * 50)]
    assert len(examples(*talk * 14)) == 14
    assert problems(turns(*talk * 15)) == [("too_long", "$.messages")]
