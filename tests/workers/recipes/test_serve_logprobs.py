"""A server tells the tokens of its answers: those of the text, each once, whole and in pieces."""

import asyncio

import pytest

from core import failpoints
from core.serving.wire import End, Text
from core.training.prompts import PromptTemplate
from tests.platform import environment
from tests.tiny_model import build_tiny_model
from tests.workers.recipes.serving import ask, chat, nothing, running
from workers.ml import generation
from workers.ml.engine import Engine
from workers.ml.loading import load_base
from workers.ml.sampling import Sampling

QUESTION = "总销售额是多少？"
LONG = 40


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def loaded(model):
    return load_base(model, precision="fp32")


@pytest.fixture
def folder(valkey_url, tmp_path):
    with environment(data_dir=str(tmp_path), broker_url=valkey_url, stop_grace_seconds="20"):
        yield tmp_path


def said(loaded, **sampling):
    """The engine's answers alone."""
    turns = [{"role": "user", "content": QUESTION}]
    prompt_ids = PromptTemplate("chat").encode_turns(loaded.tokenizer, turns)
    request = generation.Request(0, prompt_ids, Sampling(**{"max_new_tokens": LONG, **sampling}))
    return sorted(Engine(loaded).generate([request]), key=lambda done: done.index)


async def events_of(client, place, request):
    async with client.ask(place, request, nothing) as answer:
        return [event async for event in answer if isinstance(event, Text | End)]


def put_together(events, index=0):
    """Text and tokens of one answer."""
    own = [event for event in events if event.index == index]
    return "".join(e.text for e in own), [token for e in own for token in e.tokens]


def bytes_of(tokens):
    return b"".join(bytes(token["bytes"]) for token in tokens)


def shows(tokens, text):
    """Bytes that are no characters, which a random model says too, are U+FFFD in a text."""
    return bytes_of(tokens).decode("utf-8", "replace") == text


def test_whole_and_in_pieces_the_tokens_are_those_of_the_text_with_the_engine_s_scores(
    folder, model, loaded
):
    how = {"temperature": 0.8, "seed": 5, "n": 3}

    async def work(client):
        asked = [
            chat(QUESTION, max_tokens=LONG, logprobs=2, stream=stream, **how)
            for stream in (False, True)
        ]
        return await asyncio.gather(*(events_of(client, server.place, one) for one in asked))

    with running(folder / "work", model) as server:
        whole, streamed = ask(work)
    assert len(whole) == 3
    assert len(streamed) > 30, "it came in pieces"
    for expected in said(loaded, logprobs=2, **how):
        text, tokens = put_together(whole, expected.index)
        assert text == expected.text
        assert shows(tokens, text)
        shown = zip(expected.token_ids, expected.scores, strict=True)
        special = loaded.tokenizer.all_special_ids
        logprobs = [score.logprob for token, score in shown if token not in special]
        assert [t["logprob"] for t in tokens] == pytest.approx(logprobs, abs=1e-4)
        assert all(len(token["top_logprobs"]) == 2 for token in tokens)
        in_pieces = put_together(streamed, expected.index)
        assert in_pieces[0] == text
        assert [t["token"] for t in in_pieces[1]] == [t["token"] for t in tokens]
        assert [t["logprob"] for t in in_pieces[1]] == pytest.approx(logprobs, abs=1e-4)
    for event in streamed:
        assert (
            isinstance(event, End)
            or bytes_of(event.tokens) == event.text.encode()
            or ("\ufffd" in event.text)
        )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_a_stop_string_cuts_off_is_not_among_them(folder, model, loaded, stream):
    [free] = said(loaded)
    stops = {free.text[at : at + 2] for at in range(3, 20, 4)}

    async def work(client):
        return [
            await events_of(
                client,
                server.place,
                chat(QUESTION, max_tokens=LONG, logprobs=0, stop=(stop,), stream=stream),
            )
            for stop in sorted(stops)
        ]

    with running(folder / "work", model) as server:
        answers = ask(work)
    for stop, events in zip(sorted(stops), answers, strict=True):
        text, tokens = put_together(events)
        assert text == free.text[: free.text.index(stop)]
        assert shows(tokens, text)


def test_who_does_not_ask_is_told_no_tokens(folder, model):
    async def work(client):
        return await events_of(client, server.place, chat(QUESTION, stream=True))

    with running(folder / "work", model) as server:
        assert all(event.tokens is None for event in ask(work))


def test_an_answer_that_begins_again_after_full_memory_tells_each_token_once(
    folder, model, loaded, monkeypatch
):
    points = folder / "failpoints"
    points.mkdir()
    monkeypatch.setattr(failpoints, "_folder", str(points))
    how = {"temperature": 0.8, "seed": 5, "n": 2}

    async def work(client):
        request = chat(QUESTION, max_tokens=LONG, logprobs=1, stream=True, **how)
        async with client.ask(server.place, request, nothing) as answer:
            events = []
            async for event in answer:
                if not events:
                    at = server.engine.counts.steps + 5
                    (points / f"engine.step@{at}").write_text("oom")
                events.append(event)
            return events[:-1]

    with running(folder / "work", model) as server:
        events = ask(work)
        assert server.engine.places.most == 1, "memory ran out"
    for expected in said(loaded, **how):
        text, tokens = put_together(events, expected.index)
        assert text == expected.text
        assert shows(tokens, text)
