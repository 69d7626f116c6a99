"""A batch is read as it is worked off: its requests are made when they are wanted, not before."""

from collections.abc import Iterator

import pytest

from tests.tiny_model import build_tiny_model
from workers.ml import engine as engines
from workers.ml.engine import Engine
from workers.ml.generation import Request
from workers.ml.loading import load_base
from workers.ml.sampling import Sampling

COUNT = 60
SYSTEM = "You are asked about shops, and answer in one word. "


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_base(build_tiny_model(tmp_path_factory.mktemp("tiny")), precision="fp32")


def prompts(tiny) -> list[list[int]]:
    texts = (f"{SYSTEM}{n % 7} or {'more ' * (n % 5)}?" for n in range(COUNT))
    return [tiny.tokenizer(text).input_ids for text in texts]


def requests(tiny, made: list[int]) -> Iterator[Request]:
    for index, prompt_ids in enumerate(prompts(tiny)):
        made.append(index)
        yield Request(index, prompt_ids, Sampling(max_new_tokens=2 + index % 4))


def answers(tiny, **options) -> tuple[Engine, dict, int]:
    """What is answered, and how many requests were made ahead of the answers at most."""
    engine, made, found, ahead = Engine(tiny, **options), [], {}, 0
    for completion in engine.generate(requests(tiny, made)):
        found[completion.id] = completion.token_ids
        ahead = max(ahead, len(made) - len(found))
    return engine, found, ahead


def test_a_large_batch_is_read_in_pieces_and_answered_alike(tiny, monkeypatch) -> None:
    _, whole, ahead = answers(tiny, max_rows=4)
    assert (len(whole), ahead) == (COUNT, COUNT - 1)
    monkeypatch.setattr(engines, "MOST_WAITING", 10)
    _, found, ahead = answers(tiny, max_rows=4)
    assert found == whole
    assert ahead <= 10 + 4


def test_what_the_pieces_begin_with_is_not_computed_for_each(tiny, monkeypatch) -> None:
    monkeypatch.setattr(engines, "MOST_WAITING", 10)
    engine, _, _ = answers(tiny, max_rows=4)
    shared = len(tiny.tokenizer(SYSTEM).input_ids)
    tokens = sum(map(len, prompts(tiny)))
    assert engine.counts.prefix_tokens < 4 * shared
    assert engine.counts.trunk_tokens < tokens - (COUNT - 6) * shared + COUNT * 6


def test_answers_to_one_prompt_count_as_so_many(tiny, monkeypatch) -> None:
    monkeypatch.setattr(engines, "MOST_WAITING", 10)
    made: list[int] = []

    def several() -> Iterator[Request]:
        for index, prompt_ids in enumerate(prompts(tiny)[:6]):
            made.append(index)
            yield Request(index, prompt_ids, Sampling(max_new_tokens=2, temperature=1.0, n=5))

    stream = Engine(tiny, max_rows=5).generate(several())
    first = next(stream)
    assert first.id in made and len(made) <= 4
    assert len([first, *stream]) == 30
