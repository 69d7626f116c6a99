"""Each event of a profile is counted once, as the work it is part of."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.profiles.kinds import (
    ADAPTERS,
    ATTENTION,
    BASE,
    REST,
    Span,
    seconds_by_kind,
    spans,
)
from workers.ml.nodes import LoraLinears

WIDE, RANK, TOKENS = 128, 4, 200


@pytest.fixture
def layer():
    return torch.nn.Linear(WIDE, WIDE, bias=False).requires_grad_(False)


def profiled(work) -> list[Span]:
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        work()
    return list(spans(profiler.profiler.kineto_results.events()))


def kinds(calls) -> dict[str, float]:
    return seconds_by_kind(calls, narrow=64, weights={(WIDE, WIDE)})


def test_a_lora_node_is_the_bases_and_the_adapters_products_forward_and_backward(layer):
    x = torch.randn(TOKENS, WIDE, requires_grad=True)
    masters = torch.randn(RANK, WIDE), torch.randn(WIDE, RANK)
    masters = [one.requires_grad_() for one in masters]

    def step():
        (out,) = LoraLinears.apply(x, [layer], [1.0], *masters)
        out.sum().backward()

    calls = profiled(step)
    assert kinds(calls)[ATTENTION] == 0
    products = [one for one in calls if one.name in ("aten::mm", "aten::addmm_")]
    # Forward x W', x A', (x A') B'; backward gradients of x A', of x by both ways, of A and of B.
    narrow = [one for one in products if kinds([one])[ADAPTERS]]
    assert (len(products), len(narrow)) == (8, 6)
    assert all(kinds([one])[BASE] for one in products if one not in narrow)


def test_what_is_marked_holds_all_that_it_calls():
    def work():
        with record_function(ATTENTION):
            torch.randn(WIDE, WIDE) @ torch.randn(WIDE, WIDE)
        torch.randn(WIDE).exp()

    calls = profiled(work)
    found = kinds(calls)
    assert set(found) == {ATTENTION, REST}
    assert found[ATTENTION] > 0 < found[REST]
    outer = sum(one.end - one.start for one in calls if one.whole is None)
    assert sum(found.values()) == pytest.approx(outer / 1e9)  # each nanosecond once
