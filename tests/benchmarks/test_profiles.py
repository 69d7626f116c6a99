"""Each event of a profile is counted once, as the work it is part of."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.profiles.kinds import ADAPTERS, ATTENTION, BASE, REST, seconds_by_kind
from workers.ml.nodes import LoraLinears

WIDE, RANK, TOKENS = 128, 4, 200


@pytest.fixture
def layer():
    return torch.nn.Linear(WIDE, WIDE, bias=False).requires_grad_(False)


def kinds(work) -> dict[str, float]:
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        work()
    return seconds_by_kind(profiler.events(), narrow=64, weights={(WIDE, WIDE)})


def test_a_lora_node_is_the_bases_and_the_adapters_products_forward_and_backward(layer):
    x = torch.randn(TOKENS, WIDE, requires_grad=True)
    masters = torch.randn(RANK, WIDE), torch.randn(WIDE, RANK)
    masters = [one.requires_grad_() for one in masters]

    def step():
        (out,) = LoraLinears.apply(x, [layer], [1.0], *masters)
        out.sum().backward()

    found = kinds(step)
    assert found[BASE] > 0 < found[ADAPTERS]
    assert ATTENTION not in found
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        step()
    products = [e for e in profiler.events() if e.name in ("aten::mm", "aten::addmm_")]
    # Forward x W', x A', (x A') B'; backward gradients of x A', of x by both ways, of A and of B.
    narrow = [e for e in products if seconds_by_kind([e], narrow=64, weights=())[ADAPTERS]]
    assert (len(products), len(narrow)) == (8, 6)


def test_what_is_marked_holds_all_that_it_calls():
    def work():
        with record_function(ATTENTION):
            torch.randn(WIDE, WIDE) @ torch.randn(WIDE, WIDE)
        torch.randn(WIDE).exp()

    found = kinds(work)
    assert set(found) == {ATTENTION, REST}
    assert found[ATTENTION] > 0 < found[REST]
