"""What the engine computes, counted and compared with what must be computed. Nothing is timed.

The cost model: a prefix of P tokens passes the layers once for each adapter, each prompt's own s
tokens once, an answer of a tokens a - 1 times (its last token is never fed); the head runs once
for each token of an answer. A change that computes more fails here.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tiny_model import build_tiny_model
from tests.workers.ml.warming import warm
from workers.ml.cache import bytes_per_position
from workers.ml.drafts import Heard
from workers.ml.engine import Engine
from workers.ml.generation import Request
from workers.ml.loading import load_base
from workers.ml.sampling import Sampling

PREFIX, OWN = 30, 4
ANSWERS = (2, 5, 3, 5)


class Work:
    """Tokens through a layer and the head, and forwards, as hooks on the model see them."""

    def __init__(self, model):
        self.forwards = self.layer_tokens = self.head_positions = 0
        self._hooks = [
            model.model.layers[1].register_forward_hook(self._layer),
            model.get_output_embeddings().register_forward_hook(self._head),
        ]

    def _layer(self, module, args, output):
        self.forwards += 1
        self.layer_tokens += args[0].shape[1]

    def _head(self, module, args, output):
        self.head_positions += args[0].shape[1]

    def end(self):
        for hook in self._hooks:
            hook.remove()


class Copies(TorchDispatchMode):
    """Bytes that torch's calls write which compute nothing: copies, casts, parts put together."""

    CALLS = ("cat", "clone", "copy_", "_to_copy", "index_select", "index", "index_copy_", "repeat")

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in self.CALLS:
            written = args[3] if name == "index_copy_" else out
            self.bytes += written.nbytes
        return out


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(tiny_dir):
    return load_base(tiny_dir, precision="fp32")


@pytest.fixture
def work(tiny):
    work = Work(tiny.model)
    yield work
    work.end()


@pytest.fixture
def engine(tiny):
    engine = Engine(tiny)
    engine.endings.tokens = set()  # answers end at their limits: all counts are known beforehand
    engine.drafting_rows = 0
    return engine


def prompts(count, *, start=10):
    """Prompts with PREFIX tokens in common and OWN tokens of their own."""
    shared = list(range(start, start + PREFIX))
    return [[*shared, 100 + i, 101, 102, 103] for i in range(count)]


def requests(*, start=10, **options):
    return [
        Request(i, ids, Sampling(max_new_tokens=answer), **options)
        for i, (ids, answer) in enumerate(
            zip(prompts(len(ANSWERS), start=start), ANSWERS, strict=True)
        )
    ]


def test_a_batch_passes_layers_and_head_as_often_as_it_must(engine, work):
    done = list(engine.generate(requests()))
    assert [c.completion_tokens for c in sorted(done, key=lambda c: c.id)] == list(ANSWERS)
    fed = sum(answer - 1 for answer in ANSWERS)
    assert work.layer_tokens == PREFIX + len(ANSWERS) * OWN + fed
    assert work.head_positions == sum(ANSWERS)
    # The prefix, then one for each token of the longest answer: all rows share a step.
    assert work.forwards == 1 + max(ANSWERS)
    assert engine.counts.trunk_tokens == work.layer_tokens
    assert engine.counts.head_tokens == work.head_positions
    assert engine.counts.steps == work.forwards


def test_a_second_batch_of_the_same_schema_computes_no_prefix(engine, work):
    list(engine.generate(requests()))
    before = work.layer_tokens
    list(engine.generate(requests()))
    assert work.layer_tokens - before == before - PREFIX
    assert engine.counts.prefixes == 1


def test_places_are_refilled_without_a_step_more(engine, work):
    """Four answers of five tokens in two places: ten steps and the prefix."""
    engine.places.most = 2
    batch = [Request(i, ids, Sampling(max_new_tokens=5)) for i, ids in enumerate(prompts(4))]
    list(engine.generate(batch))
    assert work.forwards == 1 + 2 * 5
    assert work.layer_tokens == PREFIX + 4 * OWN + 4 * (5 - 1)


def test_rows_are_copied_only_into_places_that_were_left(engine, tiny):
    """The answer of 2 leaves first, and the last row takes its place: its prompt's own tokens and
    one of its answer. The answer of 3 stands last by then, and those of 5 end together."""
    list(engine.generate(requests()))
    position = bytes_per_position(tiny.model.config, torch.float32)
    assert engine.counts.copied_bytes == (OWN + 1) * position


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_decode_step_copies_nothing_of_a_prefix(tiny_dir, precision):
    """Behind one of ten times as many tokens it writes the same bytes."""
    loaded = load_base(tiny_dir, precision=precision)
    found = []
    for length in (PREFIX, 10 * PREFIX):
        engine = Engine(loaded)
        engine.endings.tokens, engine.drafting_rows = set(), 0
        shared = [10 + n % 300 for n in range(length)]
        for number in range(4):
            prompt = [*shared, 100 + number, 101]
            engine.submit(Request(number, prompt, Sampling(max_new_tokens=9), shared=length))
        for _ in range(3):
            engine.step()  # all have entered
        with Copies() as copies:
            engine.step()
        found.append(copies.bytes)
    assert found[0] == found[1] > 0


def test_a_prefix_is_held_once_and_rows_hold_their_own_tokens(engine, tiny):
    list(engine.generate(requests()))
    position = bytes_per_position(tiny.model.config, torch.float32)
    held = [*engine.places.cache.keys, *engine.places.cache.values]
    assert sum(t.nbytes for t in held) == len(ANSWERS) * (OWN + max(ANSWERS)) * position
    assert engine.prefixes.bytes == PREFIX * position


def test_several_answers_to_a_prompt_share_its_prefill(engine, work, tiny):
    sampling = Sampling(max_new_tokens=5, temperature=1.0, n=3)
    list(engine.generate([Request(0, prompts(1)[0], sampling)]))
    assert work.layer_tokens == PREFIX + OWN + 3 * (5 - 1)
    assert work.head_positions == 1 + 3 * (5 - 1)
    own = 1  # all of the prompt but its last token is a prefix, which is not copied
    position = bytes_per_position(tiny.model.config, torch.float32)
    assert engine.counts.copied_bytes == 2 * own * position


def test_a_prefix_that_goes_on_from_another_computes_the_rest_alone(engine, work):
    ids = list(range(10, 10 + PREFIX + 20))
    warm(engine, ids[:PREFIX])
    before = work.layer_tokens
    warm(engine, ids)
    assert work.layer_tokens - before == 20 + 1
    assert engine.counts.prefix_tokens == PREFIX + 20


def test_what_long_prompts_of_a_batch_begin_with_is_computed_once(engine, work):
    """Each of them is longer than what may enter in a step."""
    engine.prefill.most = OWN - 1
    assert len(list(engine.generate(requests()))) == len(ANSWERS)
    assert work.layer_tokens == PREFIX + len(ANSWERS) * OWN + sum(a - 1 for a in ANSWERS)


def test_each_prefix_of_a_mixed_batch_is_computed_once(engine, work):
    """Two schemas."""
    for start in (10, 60):
        for request in requests(start=start, shared=PREFIX):
            engine.submit(request)
    list(engine.run())
    rows = 2 * len(ANSWERS)
    assert engine.counts.prefixes == 2
    assert work.layer_tokens == 2 * PREFIX + rows * OWN + 2 * sum(a - 1 for a in ANSWERS)
    assert work.forwards == 2 + max(ANSWERS)


def test_a_draft_that_holds_saves_a_step_for_each_of_its_tokens(engine, work):
    [ids] = prompts(1)
    [plain] = engine.generate([Request(0, ids, Sampling(max_new_tokens=19))])
    steps = work.forwards
    engine.drafting_rows = 1
    heard = Heard()
    heard.add((*ids, *plain.token_ids))
    [drafted] = engine.generate([Request(0, ids, Sampling(max_new_tokens=19), heard=heard)])
    assert drafted.token_ids == plain.token_ids
    # The prompt's own step gives the first token, then two of nine tokens the others.
    assert steps == 19
    assert work.forwards - steps <= 1 + 2 + 1
