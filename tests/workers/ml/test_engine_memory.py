"""An engine whose memory runs out goes on with half as many rows, and loses none."""

import json
import time

import pytest
import torch

from core import failpoints
from core.errors import JobFailure
from tests.tiny_model import build_tiny_model
from workers.context import LocalContext
from workers.ml.cache import RowCache
from workers.ml.engine import SPARING_SECONDS, Engine
from workers.ml.generation import Request
from workers.ml.loading import load_base
from workers.ml.prefill import FEWEST_ENTERING
from workers.ml.sampling import Sampling
from workers.recipes import generate

QUESTIONS = [f"What is the total of all sales for customer {n}?" * (1 + n % 3) for n in range(9)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(directory):
    return load_base(directory, precision="fp32")


def requests(tiny, **sampling):
    sampling = Sampling(**{"max_new_tokens": 12, **sampling})
    prompts = [tiny.tokenizer(question).input_ids for question in QUESTIONS]
    return [Request(i, ids, sampling) for i, ids in enumerate(prompts)]


class Full(Engine):
    """Memory is full whenever more than `room` rows are worked on."""

    room = 3

    def _forward(self, batch):
        if len(batch.adapters) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super()._forward(batch)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.9, "seed": 3}], ids=["greedy", "drawn"])
def test_every_row_is_answered_as_if_nothing_had_happened(tiny, sampling):
    expected = {c.id: c.token_ids for c in Engine(tiny).generate(requests(tiny, **sampling))}
    shrunk = []
    engine = Full(tiny, on_shrink=lambda before, after: shrunk.append((before, after)))
    found = list(engine.generate(requests(tiny, **sampling)))
    assert shrunk == [(9, 4), (4, 2)]
    assert sorted(completion.id for completion in found) == list(range(len(QUESTIONS)))
    assert {c.id: c.token_ids for c in found} == expected


@pytest.mark.parametrize("when", ["its second piece is computed", "the row beside it goes on"])
def test_a_long_prompt_that_does_not_fit_beside_a_row_is_answered_behind_it(tiny, when):
    """And that row does not fail for what is half computed of another."""
    short, long = requests(tiny)[0], Request("long", requests(tiny)[2].prompt_ids * 5, Sampling(5))
    expected = {c.id: c.token_ids for c in Engine(tiny).generate([short, long])}
    full = []

    class FullOfPieces(Engine):
        def _forward(self, batch):
            partly = any(row.prefix and row.prefix.filled for row in self._waiting)
            its_piece = batch.step.prefill is not None
            if self._rows and partly and its_piece == (when == "its second piece is computed"):
                full.append(batch)
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super()._forward(batch)

    engine = FullOfPieces(tiny)
    engine.prefill.most = 32
    engine.submit(short)
    engine.step()
    engine.submit(long)
    assert {c.id: c.token_ids for c in engine.run()} == expected
    assert full and engine.places.most == 1


def test_a_long_prompt_is_computed_in_pieces_for_which_memory_suffices(tiny):
    """Also where no row is in use, which could be one less."""
    long = Request("long", requests(tiny)[2].prompt_ids * 20, Sampling(max_new_tokens=5))
    expected = [c.token_ids for c in Engine(tiny).generate([long])]
    pieces = []

    class Narrow(Engine):
        def _forward(self, batch):
            pieces.append(len(batch.token_ids))
            if len(batch.token_ids) > FEWEST_ENTERING:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super()._forward(batch)

    shrunk = []
    engine = Narrow(tiny, on_shrink=lambda *counts: shrunk.append(counts))
    engine.prefill.most = 600
    assert len(long.prompt_ids) > 600
    assert [c.token_ids for c in engine.generate([long])] == expected
    assert pieces[:3] == [600, 300, FEWEST_ENTERING] and not shrunk
    assert engine.places.most is None, "rows are not what was too much"


def test_memory_that_does_not_suffice_for_the_smallest_piece_is_a_failure(tiny):
    class NoPiece(Engine):
        def _forward(self, batch):
            raise torch.OutOfMemoryError("CUDA out of memory")

    engine = NoPiece(tiny)
    with pytest.raises(JobFailure) as failure:
        list(engine.generate([Request("long", requests(tiny)[2].prompt_ids * 20, Sampling())]))
    assert failure.value.klass == "oom_gpu"


def test_memory_that_runs_out_in_the_middle_loses_no_finished_row(tiny):
    expected = {c.id: c.token_ids for c in Engine(tiny).generate(requests(tiny))}
    engine, found = Full(tiny, max_rows=4), {}
    engine.room = 4
    for completion in engine.generate(requests(tiny)):
        assert completion.id not in found
        found[completion.id] = completion.token_ids
        if len(found) == 3:
            engine.room = 1
    assert found == expected


def test_one_row_that_does_not_fit_is_a_failure(tiny):
    engine = Full(tiny)
    engine.room = 0
    with pytest.raises(JobFailure) as failure:
        list(engine.generate(requests(tiny)))
    assert failure.value.klass == "oom_gpu"


def test_what_was_refused_is_told_also_after_a_step_that_did_not_fit(tiny):
    engine = Full(tiny)
    engine.room = 0
    engine.submit(Request("refused", [], Sampling()))
    engine.submit(requests(tiny)[0])
    with pytest.raises(JobFailure):
        engine.step()
    engine.cancel(0)
    assert engine.busy
    assert [completion.id for completion in engine.step()] == ["refused"]


def test_memory_that_runs_out_while_places_grow_leaves_no_half_grown_ones(tiny, monkeypatch):
    """One row is in use, beside which the one that waits does not fit: they are answered one after
    the other."""
    asked = sorted(requests(tiny), key=lambda request: len(request.prompt_ids))
    both = [asked[0], asked[-1]]
    expected = {c.id: c.token_ids for c in Engine(tiny).generate(both)}
    engine = Engine(tiny)
    engine.submit(asked[0])
    engine.step()

    def grow(cache, *, rows, length, used, filled):
        cache.rows, cache.length = rows, length
        cache.keys[0] = cache.keys[0].new_zeros(rows, length, *cache.keys[0].shape[2:])
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(RowCache, "grow", grow)
    engine.submit(asked[-1])
    assert engine.step() == [] and not [*engine.unfinished()]
    assert {c.id: c.token_ids for c in engine.run()} == expected


def test_an_engine_that_has_been_idle_long_after_takes_as_many_as_before(tiny, monkeypatch):
    """What filled the memory may have been another process."""
    engine = Full(tiny)
    list(engine.generate(requests(tiny)))
    engine.room = 9
    steps = engine.counts.steps
    list(engine.generate(requests(tiny)))
    sparing = engine.counts.steps - steps
    later = time.monotonic() + SPARING_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    steps = engine.counts.steps
    list(engine.generate(requests(tiny)))
    assert engine.counts.steps - steps < sparing / 2


def test_another_error_is_not_taken_for_full_memory(tiny, monkeypatch):
    def broken(self, batch):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Engine, "_forward", broken)
    engine = Engine(tiny)
    for request in requests(tiny):
        engine.submit(request)
    with pytest.raises(RuntimeError, match="shapes"):
        list(engine.run())


def test_a_batch_says_that_it_goes_on_with_fewer(directory, tmp_path, monkeypatch):
    folder = tmp_path / "failpoints"
    folder.mkdir()
    monkeypatch.setattr(failpoints, "_folder", str(folder))
    lines = [json.dumps({"id": n, "question": text}) for n, text in enumerate(QUESTIONS)]
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(lines))
    params = {"quantization": "none", "precision": "fp32", "max_new_tokens": 6}
    inputs = {"model": directory, "questions": file}

    def answers(name):
        ctx = LocalContext(params, inputs, tmp_path / name)
        generate.run(ctx)
        return ctx, {index: row["answer"] for index, row in ctx.rows.items()}

    _, expected = answers("whole")
    (folder / "engine.step@3").write_text("oom")
    ctx, found = answers("healed")
    assert found == expected
    events = [message["event"] for message in ctx.of_kind("event")]
    (warning,) = [event for event in events if event["level"] == "warning"]
    assert warning["message"] == "memory ran out with 9 questions at a time; it goes on with 4"
