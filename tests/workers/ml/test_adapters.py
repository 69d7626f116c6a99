"""Rows with different adapters share a step, and each is answered as by its adapter alone."""

import json
import os

import pytest
import torch
from peft import LoraConfig, get_peft_model

from core.errors import JobFailure
from tests.tiny_model import build_tiny_model
from workers.ml.engine import Engine
from workers.ml.generation import Request
from workers.ml.loading import load_adapter, load_base
from workers.ml.sampling import Sampling
from workers.ml.stacks import Stack

SCHEMA = "customers(id, name, city) orders(id, total) 客户(编号) "
QUESTIONS = ["How many orders?", "x", "What is the total of all sales?", "每个城市有多少客户？"]
# Ranks, targets and layers differ, as adapters of different trainings do.
KINDS = {
    "sales": {"r": 4, "target_modules": "all-linear"},
    "staff": {"r": 12, "target_modules": ["q_proj", "v_proj"]},
    "stock": {"r": 2, "target_modules": ["up_proj", "o_proj"], "layers_to_transform": [1]},
}


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def folders(tiny_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return {
        name: save_adapter(tiny_dir, folder / name, seed, **kind)
        for seed, (name, kind) in enumerate(KINDS.items())
    }


@pytest.fixture(scope="module")
def tiny(tiny_dir):
    return load_base(tiny_dir, precision="fp32")


@pytest.fixture(scope="module")
def alone(tiny_dir, tiny, folders):
    """What each adapter says when it is the only one, live on the model; and the model itself."""
    answers = {None: ask(Engine(tiny), tiny, [None])}
    for name, folder in folders.items():
        loaded = load_adapter(load_base(tiny_dir, precision="fp32"), folder)
        found = ask(Engine(loaded), tiny, [None])
        answers[name] = {(name, i): tokens for (_, i), tokens in found.items()}
    assert len({json.dumps(list(found.values())) for found in answers.values()}) == 4
    return answers


def save_adapter(tiny_dir, folder, seed, **settings):
    torch.manual_seed(seed)
    config = LoraConfig(lora_alpha=16, init_lora_weights=False, task_type="CAUSAL_LM", **settings)
    get_peft_model(load_base(tiny_dir, precision="fp32").model, config).save_pretrained(folder)
    return folder


def requests(tiny, adapters):
    return [
        Request((name, i), tiny.tokenizer(SCHEMA + text).input_ids, Sampling(12), name)
        for i, text in enumerate(QUESTIONS)
        for name in adapters
    ]


def ask(engine, tiny, adapters):
    return {c.id: c.token_ids for c in engine.generate(requests(tiny, adapters))}


def with_adapters(loaded, folders, **options):
    engine = Engine(loaded, **options)
    for name, folder in folders.items():
        engine.load_adapter(name, folder)
    return engine


@pytest.mark.parametrize("max_rows", [None, 5])
def test_each_row_is_answered_as_by_its_adapter_alone(tiny, folders, alone, max_rows):
    engine = with_adapters(tiny, folders, max_rows=max_rows)
    found = ask(engine, tiny, [None, *KINDS])
    assert found == {key: tokens for answers in alone.values() for key, tokens in answers.items()}
    assert engine.counts.prefixes == 4  # keys and values depend on the adapter


def test_an_adapter_that_is_live_on_the_model_mixes_with_others(tiny_dir, tiny, folders, alone):
    loaded = load_adapter(load_base(tiny_dir, precision="fp32"), folders["sales"])
    engine = Engine(loaded)
    engine.load_adapter("staff", folders["staff"])
    found = ask(engine, tiny, [None, "staff"])
    expected = {(None, i): tokens for (_, i), tokens in alone["sales"].items()}
    assert found == expected | alone["staff"]


def test_adapters_come_and_go_while_rows_are_in_flight(tiny, folders, alone):
    engine = with_adapters(tiny, {"sales": folders["sales"], "staff": folders["staff"]})
    done = []
    for request in requests(tiny, ["staff"]):
        engine.submit(request)
    for _ in range(3):
        done += engine.step()
    engine.load_adapter("stock", folders["stock"])
    engine.unload_adapter("sales")  # the last one takes its slot
    for request in requests(tiny, ["stock", None]):
        engine.submit(request)
    done += engine.run()
    assert {c.id: c.token_ids for c in done} == alone["staff"] | alone["stock"] | alone[None]


def test_an_adapter_in_use_is_not_unloaded(tiny, folders):
    engine = with_adapters(tiny, {"sales": folders["sales"]})
    engine.submit(requests(tiny, ["sales"])[0])
    with pytest.raises(JobFailure, match="in use"):
        engine.unload_adapter("sales")
    engine.step()
    with pytest.raises(JobFailure, match="in use"):
        engine.unload_adapter("sales")
    list(engine.run())
    engine.unload_adapter("sales")
    with pytest.raises(JobFailure, match="no adapter"):
        engine.unload_adapter("sales")


def test_an_unloaded_adapter_leaves_no_prefix_for_another_of_its_name(tiny, folders, alone):
    engine = with_adapters(tiny, {"sales": folders["sales"]})
    ask(engine, tiny, ["sales"])
    engine.unload_adapter("sales")
    engine.load_adapter("sales", folders["staff"])
    found = ask(engine, tiny, ["sales"])
    assert {i: ids for (_, i), ids in found.items()} == {
        i: ids for (_, i), ids in alone["staff"].items()
    }


def test_a_request_for_an_unknown_adapter_is_its_own_error(tiny, alone):
    done = list(Engine(tiny).generate(requests(tiny, [None, "nobody"])))
    errors = [c.error.message for c in done if c.id[0] == "nobody"]
    assert errors == ["no adapter 'nobody' is loaded"] * len(QUESTIONS)
    assert {c.id: c.token_ids for c in done if c.id[0] is None} == alone[None]


def test_what_is_hostile_does_not_fit_or_is_not_plain_lora_is_refused(
    tiny, tiny_dir, folders, tmp_path
):
    engine = with_adapters(tiny, {"sales": folders["sales"]})
    with pytest.raises(JobFailure, match="loaded already"):
        engine.load_adapter("sales", folders["sales"])
    hostile = save_adapter(tiny_dir, tmp_path / "hostile", 1, target_modules=["q_proj"])
    os.symlink(hostile / "adapter_config.json", hostile / "link.json")
    with pytest.raises(JobFailure, match="symbolic link"):
        engine.load_adapter("hostile", hostile)
    odd = save_adapter(tiny_dir, tmp_path / "odd", 1, target_modules=["q_proj"], lora_bias=True)
    with pytest.raises(JobFailure, match="no plain LoRA"):
        engine.load_adapter("odd", odd)
    config = json.loads((folders["stock"] / "adapter_config.json").read_text())
    other = save_adapter(tiny_dir, tmp_path / "other", 1, target_modules=["q_proj"])
    (other / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(JobFailure, match="does not fit"):
        engine.load_adapter("other", other)
    assert engine.adapters.names == [None, "sales"]


class Full(Stack):
    """Memory runs out at some layer; for no weights there is always room."""

    def append(self, weights):
        if any(pair is not None for pair in weights):
            raise torch.OutOfMemoryError("CUDA out of memory")
        super().append(weights)

    def trim(self):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_an_adapter_that_memory_does_not_suffice_for_leaves_nothing_behind(tiny, folders, alone):
    """Neither in the layers that had room nor for the next one, and rows in flight go on."""
    engine = with_adapters(tiny, {"staff": folders["staff"]})
    for request in requests(tiny, ["staff"]):
        engine.submit(request)
    done = engine.step()
    *_, last = engine.adapters.stacks.values()
    last.__class__ = Full
    with pytest.raises(JobFailure) as failure:
        engine.load_adapter("sales", folders["sales"])
    assert failure.value.klass == "oom_gpu"
    last.__class__ = Stack
    assert engine.adapters.names == [None, "staff"]
    engine.load_adapter("stock", folders["stock"])
    for request in requests(tiny, ["stock", None]):
        engine.submit(request)
    done += engine.run()
    assert {c.id: c.token_ids for c in done} == alone["staff"] | alone["stock"] | alone[None]


def test_an_adapter_goes_also_where_memory_runs_out_while_it_does(tiny, folders, alone):
    """From all layers, and those that stay are asked as before."""
    engine = with_adapters(tiny, {"sales": folders["sales"], "staff": folders["staff"]})
    first, *_ = engine.adapters.stacks.values()
    first.__class__ = Full
    with pytest.raises(JobFailure) as failure:
        engine.unload_adapter("sales")
    assert failure.value.klass == "oom_gpu"
    first.__class__ = Stack
    assert engine.adapters.names == [None, "staff"]
    assert ask(engine, tiny, ["staff", None]) == alone["staff"] | alone[None]


def test_adapters_go_on_an_8bit_base_as_alone(tiny_dir, tiny, folders):
    """In fp32, where activations are not rounded, the tokens are the same."""
    loaded = load_base(tiny_dir, quantization="8bit", precision="fp32")
    found = ask(with_adapters(loaded, folders), tiny, ["sales", "staff"])
    for name in ("sales", "staff"):
        live = load_base(tiny_dir, quantization="8bit", precision="fp32")
        own = ask(Engine(load_adapter(live, folders[name])), tiny, [None])
        assert {i: ids for (_, i), ids in own.items()} == {
            i: ids for (n, i), ids in found.items() if n == name
        }
