"""A server whose memory runs out refuses what it can't answer, and answers the rest; none of its
requests waits for ever."""

import pytest
import torch

from core.errors import JobFailure, NotFound
from core.serving.exchange import Asked
from core.serving.wire import Chat, Failed, Request, Usage
from tests.tiny_model import build_tiny_model
from tests.workers.ml.warming import warm
from workers.ml import generation
from workers.ml.adapters import Adapters
from workers.ml.engine import Engine
from workers.ml.loading import load_base
from workers.ml.sampling import Sampling
from workers.ml.shelf import Shelf
from workers.serving.adapters import Adapters as Fetched
from workers.serving.server import Server
from workers.serving.talks import Done, Talks

SCHEMA = list(range(10, 30))


class Heard:
    """An exchange where these were asked. It keeps what is told; every client is there."""

    def __init__(self, *asked):
        self.asked, self.told = list(asked), {}

    def take(self, count, *, patience):
        taken, self.asked = self.asked, []
        return taken

    def tell(self, said):
        for request_id, events in said.items():
            self.told.setdefault(request_id, []).extend(events)
        return set()


class Full(Engine):
    """There is no room for a prefix."""

    def _forward(self, batch):
        if batch.step.prefill is not None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super()._forward(batch)


class NoRoom:
    """Memory does not suffice for any adapter."""

    def __init__(self, engine, folder):
        self.engine, self.folder = engine, folder

    def at_hand(self, key, *, in_use):
        self.engine.load_adapter(key, self.folder)

    def wait(self, seconds):
        pass


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_base(build_tiny_model(tmp_path_factory.mktemp("tiny")), precision="fp32")


def test_who_waits_for_a_prefix_that_there_is_no_room_for_is_refused(tiny):
    engine, heard = Engine(tiny), Heard()
    talks = Talks(tiny.tokenizer, Done())
    server = Server(heard, engine=engine, prompts=None, adapters=None, talks=talks)
    warm(engine, SCHEMA)
    for request_id, prompt_ids in (("long", [*SCHEMA, 40]), ("short", [41, 42])):
        engine.submit(generation.Request(request_id, prompt_ids, Sampling(max_new_tokens=3)))
        talks.begin(request_id, Request(Chat([]), max_tokens=3), None, whole=True)
    engine.prefixes.forget(None)  # others came
    engine.__class__ = Full
    for _ in range(9):
        server.turn()
    [refused] = heard.told["long"]
    assert isinstance(refused, Failed) and refused.code == "out_of_memory"
    assert isinstance(heard.told["short"][-1], Usage)
    assert not engine.busy and talks.done.requests == 1


def test_an_adapter_that_memory_does_not_suffice_for_is_its_request_s_error(tiny, monkeypatch):
    def full(self, name, weights):
        raise MemoryError

    monkeypatch.setattr(Adapters, "add", full)
    monkeypatch.setattr("workers.ml.engine.read_adapter", lambda loaded, directory: {})
    engine, talks = Engine(tiny), Talks(tiny.tokenizer, Done())
    asked = [Asked("one", Request(Chat([]), max_tokens=3), "sales")]
    heard, shelf = Heard(*asked), NoRoom(engine, None)
    server = Server(heard, engine=engine, prompts=None, adapters=shelf, talks=talks)
    server.turn()
    [refused] = heard.told["one"]
    assert isinstance(refused, Failed) and refused.code == "out_of_memory"
    assert server.taken == 0


class Seated(Server):
    """Notes who is answered, and with which adapter."""

    def _submit(self, asked):
        self.adapters.use(asked.adapter)
        self.talks.seated[asked.id] = asked.adapter
        del self.parked[asked.id]


class Busy:
    """Talks that go on until they are dropped."""

    def __init__(self):
        self.seated = {}

    def __len__(self):
        return len(self.seated)

    def drop(self, request_id):
        self.seated.pop(request_id, None)

    @property
    def adapters(self):
        return set(self.seated.values())


class Weightless:
    """An engine for which every adapter is at hand at once."""

    def load_adapter(self, name, folder):
        pass

    def unload_adapter(self, name):
        pass


def seats(monkeypatch, fetch):
    """A server with room for two adapters, where `a` and `b` are being used."""
    monkeypatch.setattr(Fetched, "_fetch", lambda self, key: fetch(key))
    adapters = Fetched(Shelf(Weightless(), most=2), None)
    talks = Busy()
    server = Seated(Heard(), engine=None, prompts=None, adapters=adapters, talks=talks)
    for name in "ab":
        park(server, f"first-{name}", name)
    seat(server, until=lambda: len(talks) == 2)
    return server, talks


def park(server, request_id, adapter):
    server.parked[request_id] = Asked(request_id, Request(Chat([]), max_tokens=3), adapter)


def seat(server, *, until):
    for _ in range(200):
        server._seat()
        if until():
            return
        server.adapters.wait(0.05)
    raise AssertionError("not seated")


def test_a_request_for_another_adapter_is_not_overtaken_for_ever(monkeypatch):
    server, talks = seats(monkeypatch, fetch=lambda key: key)
    park(server, "other", "c")
    for _ in range(3):
        server._seat()
        server.adapters.wait(1)
    park(server, "younger-a", "a")
    park(server, "younger-b", "b")
    server._seat()
    # `a` was used least recently: it has to go.
    assert sorted(server.parked) == ["other", "younger-a"]
    talks.drop("first-a")
    seat(server, until=lambda: "other" not in server.parked)
    assert "younger-b" in talks.seated


def test_none_leaves_for_an_adapter_that_is_not_to_be_had(monkeypatch):
    def fetch(key):
        if key == "gone":
            raise NotFound("gone is not in the storage")
        return key

    server, talks = seats(monkeypatch, fetch)
    talks.seated.clear()
    park(server, "wrong", "gone")
    seat(server, until=lambda: "wrong" not in server.parked)
    assert server.exchange.told["wrong"][0].code == "model_not_found"
    assert server.adapters.at_hand("a", in_use=()) and server.adapters.at_hand("b", in_use=())


def test_none_leaves_for_an_adapter_that_can_not_be_used(monkeypatch):
    def load(self, name, folder):
        if name == "dora":
            raise JobFailure("config", "it is no plain LoRA")

    server, talks = seats(monkeypatch, fetch=lambda key: key)
    talks.seated.clear()
    monkeypatch.setattr(Weightless, "load_adapter", load)
    park(server, "wrong", "dora")
    seat(server, until=lambda: "wrong" not in server.parked)
    assert "no plain LoRA" in server.exchange.told["wrong"][0].message
    assert server.adapters.at_hand("a", in_use=()) and server.adapters.at_hand("b", in_use=())
