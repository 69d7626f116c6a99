import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.training.sizing import FIXED_BYTES, HEAD_ROWS, Sizing, group_bytes
from workers.ml.packing import Example, groups_of

CONFIG = SimpleNamespace(
    hidden_size=64, intermediate_size=128, num_attention_heads=4, vocab_size=400
)


def examples(schemas, count, seed):
    """Rows of random lengths, in turn below schemas of so many tokens."""
    chance = random.Random(seed)

    def own(longest):
        return [chance.randrange(100, 400) for _ in range(chance.randint(1, longest))]

    prefixes = [[9, 9, *[20 + number] * size] for number, size in enumerate(schemas)]
    return [Example(k, prefixes[k % len(prefixes)] + own(60), own(90)) for k in range(count)]


def sizing(some, share_prefix=True, **bounds):
    return Sizing(CONFIG, some, layers=2, itemsize=4, share_prefix=share_prefix, **bounds)


@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize("schemas", [(200,), (0,), (150, 80, 31)], ids=["one", "none", "three"])
def test_no_group_is_larger_than_said(schemas, share_prefix):
    for seed in range(10):
        some = examples(schemas, 40, seed)
        for micro_batch in (1, 3, 16, 64):
            shape = sizing(some, share_prefix).shape(micro_batch)
            for group in groups_of(some, micro_batch=micro_batch, share_prefix=share_prefix):
                assert group.input_ids.shape[1] <= shape["tokens"]
                assert len(group.labels) <= shape["labels"]


def test_a_shared_prefix_is_counted_once():
    some = examples((200,), 16, seed=1)
    apart, together = (sizing(some, share).shape(16)["tokens"] for share in (False, True))
    assert apart - together > 14 * 200


def test_what_fits_and_what_failed_before_are_told_by_the_estimate():
    some = examples((200,), 16, seed=1)
    need = sizing(some).need(4, False).need_bytes
    assert sizing(some, budget=need).fits(4, False)
    assert not sizing(some, budget=need).fits(8, False)
    assert sizing(some, ceiling=need).failed_before(4, False)
    assert not sizing(some, ceiling=need).failed_before(2, False)


RESULTS = Path(__file__).parents[3] / "benchmarks/results/training-memory-smollm2-135m.json"
MEASURED = json.loads(RESULTS.read_text())["settings"]

MEASURED_CONFIG = SimpleNamespace(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    vocab_size=49152,
    hidden_act="silu",
    rms_norm_eps=1e-5,
)


def need(config=MEASURED_CONFIG, **changes):
    values = {
        "tokens": 1000,
        "labels": 500,
        "layers": 20,
        "itemsize": 2,
        "gradient_checkpointing": False,
    }
    return group_bytes(config, **values | changes)


def test_the_estimate_grows_with_the_group_and_shrinks_with_checkpointing():
    assert need(tokens=2000) > need() > need(gradient_checkpointing=True)
    assert need(layers=30) > need() and need(itemsize=4) > need() and need(labels=9) < need()


def test_logits_count_up_to_a_block_of_labels_and_what_is_computed_again_does_not():
    assert need(labels=HEAD_ROWS) == need(labels=9999)
    kept = need() - need(tokens=0)
    other = SimpleNamespace(**vars(MEASURED_CONFIG) | {"hidden_act": "gelu"})
    assert need(other) - need(other, tokens=0) > 1.4 * kept


@pytest.mark.parametrize("one", MEASURED, ids=lambda one: one["setting"])
def test_the_estimate_lies_above_what_was_measured_and_but_for_a_fixed_part_below_twice(one):
    names = ("tokens", "labels", "layers", "gradient_checkpointing")
    estimated = need(**{name: one[name] for name in names})
    assert one["grown_bytes"] < estimated < 2 * one["grown_bytes"] + FIXED_BYTES
