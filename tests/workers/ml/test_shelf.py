"""So many adapters are at hand; the one that was used least recently leaves, none in use does."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from core.errors import JobFailure
from tests.tiny_model import build_tiny_model
from workers.ml.engine import Engine
from workers.ml.generation import Request
from workers.ml.loading import load_base
from workers.ml.sampling import Sampling
from workers.ml.shelf import Shelf
from workers.ml.stacks import Stack


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A base model, and three adapters that say something else each."""
    base = build_tiny_model(tmp_path_factory.mktemp("base"))
    made = {}
    for seed, name in enumerate("abc"):
        torch.manual_seed(seed)
        config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        model = get_peft_model(load_base(base, precision="fp32").model, config)
        made[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(made[name])
    return base, made


@pytest.fixture
def engine(folders):
    return Engine(load_base(folders[0], precision="fp32"))


def say(engine, adapter):
    [done] = engine.generate([Request(0, [5, 6, 7], Sampling(max_new_tokens=12), adapter)])
    return done.token_ids


def put(shelf, folders, name, in_use=()):
    assert shelf.has_room(in_use=in_use)
    shelf.put(name, folders[1][name], in_use=in_use)


def test_the_least_recently_used_one_leaves(engine, folders):
    shelf = Shelf(engine, most=2)
    for name in "ab":
        put(shelf, folders, name)
    before = {name: say(engine, name) for name in "ab"}
    assert shelf.use("a").folder == folders[1]["a"]
    put(shelf, folders, "c")
    assert [name in shelf for name in "abc"] == [True, False, True]
    assert say(engine, "a") == before["a"]
    with pytest.raises(JobFailure, match="no adapter 'b'"):
        engine.unload_adapter("b")
    put(shelf, folders, "b")
    assert say(engine, "b") == before["b"], "it comes back as it was"


def test_one_in_use_stays_and_there_is_no_room_if_all_are(engine, folders):
    shelf = Shelf(engine, most=2)
    for name in "ab":
        put(shelf, folders, name)
    assert not shelf.has_room(in_use={"a", "b"})
    put(shelf, folders, "c", in_use={"a"})
    assert [name in shelf for name in "abc"] == [True, False, True]


def test_one_that_does_not_fit_is_refused_and_takes_no_place(engine, folders, tmp_path):
    shelf = Shelf(engine, most=1)
    put(shelf, folders, "b")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(JobFailure) as refused:
        shelf.put("a", tmp_path, in_use=())
    assert refused.value.klass == "config"
    assert "a" not in shelf and "b" in shelf
    put(shelf, folders, "a")


def test_where_memory_runs_out_while_one_leaves_it_is_gone_and_others_can_come(
    engine, folders, monkeypatch
):
    shelf = Shelf(engine, most=1)
    put(shelf, folders, "a")
    expected = say(engine, "a")

    def full(stack):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Stack, "trim", full)
        with pytest.raises(JobFailure) as failure:
            put(shelf, folders, "b")
    assert failure.value.klass == "oom_gpu"
    assert "a" not in shelf and "b" in shelf
    put(shelf, folders, "c")
    put(shelf, folders, "a")
    assert [name in shelf for name in "abc"] == [True, False, False]
    assert say(engine, "a") == expected
