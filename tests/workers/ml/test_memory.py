import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from workers.ml import memory

RESULTS = Path(__file__).parents[3] / "benchmarks/results/training-memory-smollm2-135m.json"
MEASURED = json.loads(RESULTS.read_text())

CONFIG = SimpleNamespace(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    vocab_size=49152,
)


def need(**changes):
    values = {
        "tokens": 1000,
        "labels": 500,
        "pairs": 60_000,
        "layers": 20,
        "itemsize": 2,
        "gradient_checkpointing": False,
    }
    return memory.group_bytes(CONFIG, **values | changes)


def test_the_estimate_grows_with_the_group_and_shrinks_with_checkpointing():
    assert need(tokens=2000) > need() > need(gradient_checkpointing=True)
    assert need(layers=30) > need() and need(itemsize=4) > need() and need(pairs=10**7) > need()


@pytest.mark.parametrize("one", MEASURED, ids=lambda one: one["setting"])
def test_the_estimate_lies_above_what_was_measured_and_but_for_a_fixed_part_below_twice(one):
    names = ("tokens", "labels", "pairs", "layers", "gradient_checkpointing")
    estimated = need(**{name: one[name] for name in names})
    assert one["grown_bytes"] < estimated < 2 * one["grown_bytes"] + memory.FIXED_BYTES


def test_the_host_is_measured():
    assert memory.used("cpu") > 1e6 and memory.peak("cpu") > 1e6
    assert memory.available("cpu") > 0
    memory.keep_freed_memory()
