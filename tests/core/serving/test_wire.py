"""What is written is read again as it was, in any script."""

import pytest

from core.serving import wire
from core.serving.wire import Chat, End, Failed, Request, Sql, Taken, Text, Usage

TOKEN = {
    "token": "\ufffd",
    "logprob": -0.25,
    "bytes": [228],
    "top_logprobs": [{"token": "<|im_end|>", "logprob": -9999.0, "bytes": None}],
}


@pytest.mark.parametrize(
    "prompt",
    [
        Chat([{"role": "system", "content": "简短。"}, {"role": "user", "content": "你好"}]),
        Sql("有多少客户？", schema_text="客户(编号)", dialect="sqlite"),
        Sql("How many?"),
    ],
)
def test_a_request_is_read_as_it_was_written(prompt):
    request = Request(
        prompt, 7, temperature=0.5, seed=-3, n=2, stop=("\n\n", "结束"), stream=True, logprobs=3
    )
    assert wire.read_request(wire.write_request(request, "projects/p/a")) == (
        request,
        "projects/p/a",
    )
    assert wire.read_request(wire.write_request(request, None)) == (request, None)


@pytest.mark.parametrize(
    "event",
    [
        Taken("server_1"),
        Text(1, "你"),
        Text(0, "", [TOKEN]),
        End(0, "", "length"),
        End(0, "你", "stop", [TOKEN, TOKEN]),
        End(0, "", "stop", []),
        Usage(3, 4),
        Failed("request", "invalid_messages", "no"),
    ],
)
def test_an_event_is_read_as_it_was_written(event):
    assert wire.read_event(wire.write_event(event)) == event


def test_what_is_not_there_is_not_written():
    """So that the API and the workers of two versions understand each other as far as they can."""
    plain = wire.write_request(Request(Chat([]), 7), None)
    assert "logprobs" not in plain and "logprobs" in wire.write_request(
        Request(Chat([]), 7, logprobs=0), None
    )
    assert "tokens" not in wire.write_event(Text(0, "a"))
