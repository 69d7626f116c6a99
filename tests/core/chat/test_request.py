"""What of a chat request is honoured, what is taken because it changes nothing, what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.chat.request import DEFAULT_TOKENS, ChatRequest

ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "How many?"}]}

HARMLESS = {
    "user": "anna",
    "store": True,
    "metadata": {"team": "sales"},
    "safety_identifier": "x",
    "prompt_cache_key": "x",
    "presence_penalty": 0.0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 0,
    "response_format": {"type": "text"},
    "modalities": ["text"],
    "parallel_tool_calls": True,
    "tools": [],
    "tool_choice": "none",
    "service_tier": "auto",
    "stop": None,
    "temperature": None,
}

REFUSED = [
    ({"presence_penalty": 0.5}, "presence_penalty"),
    ({"frequency_penalty": -1}, "frequency_penalty"),
    ({"logit_bias": {"50256": -100}}, "logit_bias"),
    ({"logprobs": 1}, "logprobs"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": False, "top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
    ({"logprobs": True, "n": 17}, "n"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"service_tier": "priority"}, "service_tier"),
    ({"best_of": 3}, "best_of"),
    ({"n": 0}, "n"),
    ({"n": 129}, "n"),
    ({"temperature": 2.1}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"seed": 2**63}, "seed"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": ""}, "stop.0"),
    ({"stop": [";", "a" * 257]}, "stop.1"),
    ({"messages": [{"role": "user", "content": "a" * 500_001}] * 2}, "messages"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"model": ""}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "assistant", "content": "Well"}]}, "messages"),
    ({"messages": [{"role": "tool", "content": "4"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": "half \ud800"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": "\x00"}]}, "messages.0.content"),
]


@pytest.mark.parametrize(("given", "param"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_can_not_be_honoured_is_refused_by_its_place(given: dict[str, Any], param: str):
    with pytest.raises(ValidationError) as refused:
        ChatRequest.model_validate(ASKED | given)
    assert ".".join(map(str, refused.value.errors()[0]["loc"])) == param


def test_what_clients_send_and_changes_nothing_is_taken():
    ChatRequest.model_validate(ASKED | HARMLESS)


def test_an_answer_can_be_sent_back_as_the_sdk_dumps_it():
    answer = {"role": "assistant", "content": "四", "refusal": None, "tool_calls": None}
    answer |= {"annotations": [], "audio": None, "function_call": None}
    turns = [*ASKED["messages"], answer, {"role": "user", "content": "And in Rome?"}]
    asked = ChatRequest.model_validate(ASKED | {"messages": turns})
    assert asked.turns[1] == {"role": "assistant", "content": "四"}


def test_parts_of_text_are_one_text_and_a_developer_is_the_system():
    parts = [{"type": "text", "text": "多少"}, {"type": "text", "text": "客户?"}]
    turns = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    asked = ChatRequest.model_validate(ASKED | {"messages": turns})
    assert asked.turns == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "多少客户?"},
    ]


def test_the_newer_bound_of_an_answer_goes_before_the_older_one():
    assert ChatRequest.model_validate(ASKED).answer_tokens == DEFAULT_TOKENS
    both = ASKED | {"max_tokens": 5, "max_completion_tokens": 7}
    assert ChatRequest.model_validate(both).answer_tokens == 7


def test_one_stop_string_is_a_list_of_one():
    assert ChatRequest.model_validate(ASKED | {"stop": ";"}).stop == [";"]


@pytest.mark.parametrize(
    ("given", "best"),
    [
        ({}, None),
        ({"logprobs": False}, None),
        ({"top_logprobs": 0}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": None}, 0),
        ({"top_logprobs": 20, "logprobs": True}, 20),
    ],
)
def test_tokens_are_told_where_logprobs_is_true_with_so_many_others(given, best):
    assert ChatRequest.model_validate(ASKED | given).best_tokens == best
