"""Each token gets its own adapter's product, of every layer that has the same input."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from workers.ml.stacks import Mix, Stack

IN, OUTS = 16, (24, 8, 8)
# By slots and layers: adapters of other ranks, one leaves a layer as it is, one all of them.
RANKS = [(3, 2, 3), (5, 0, 1), (0, 0, 0)]


def low_rank(ranks, generator):
    return [
        (torch.randn(r, IN, generator=generator), torch.randn(r, out, generator=generator))
        if r
        else None
        for r, out in zip(ranks, OUTS, strict=True)
    ]


def made(dtype=torch.float32, ranks=RANKS):
    """A stack over three layers, and its weights by slots."""
    generator = torch.Generator().manual_seed(0)
    stack = Stack([nn.Linear(IN, out) for out in OUTS], dtype)
    slots = [low_rank(own, generator) for own in ranks]
    for slot in slots:
        stack.append(slot)
    return stack, slots


def product(x, pair, out):
    return torch.zeros(out) if pair is None else F.linear(x, pair[0]) @ pair[1]


def check(stack, slots, mix_slots, mix=None, dtype=torch.float32, tolerance=1e-5):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(len(mix_slots), IN, generator=generator)
    starts = [torch.randn(len(mix_slots), out, generator=generator) for out in OUTS]
    outs = [start.to(dtype, copy=True) for start in starts]
    stack.add_to(outs, x.to(dtype), mix or Mix.of(mix_slots))
    for layer, (out, start) in enumerate(zip(outs, starts, strict=True)):
        rows = [product(x[i], slots[s][layer], OUTS[layer]) for i, s in enumerate(mix_slots)]
        expected = start + torch.stack(rows)
        torch.testing.assert_close(out.float(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.1)], ids=["fp32", "bf16"]
)
@pytest.mark.parametrize(
    ("slots", "together"),
    [
        ([0, 1, 2, 0, 1, 2], True),
        ([2, 0, 1, 1, 0], True),
        ([0] * 9 + [2], True),
        ([1, 2] * 20, True),
        ([0] * 100 + [2], False),
    ],
    ids=["even", "almost even", "few", "the first has none", "one has most"],
)
def test_tokens_of_a_step_get_their_own_adapters_product(slots, together, dtype, tolerance):
    stack, weights = made(dtype)
    assert (Mix.of(slots).together is not None) == together
    check(stack, weights, slots, dtype=dtype, tolerance=tolerance)


def test_few_tokens_have_products_in_fp32_also_adapter_by_adapter():
    """Weights and narrow products are not rounded to bf16 on the way: what is added is."""
    stack, slots = made(torch.bfloat16, ranks=[RANKS[0], RANKS[2], RANKS[1]])
    mix_slots = [0] * 100 + [2]
    assert Mix.of(mix_slots).apart
    x = torch.randn(len(mix_slots), IN, generator=torch.Generator().manual_seed(1)).bfloat16()
    outs = [torch.zeros(len(mix_slots), out, dtype=torch.bfloat16) for out in OUTS]
    stack.add_to(outs, x, Mix.of(mix_slots))
    for layer, out in enumerate(outs):
        rows = [
            product(x[i].float(), slots[s][layer], OUTS[layer]) for i, s in enumerate(mix_slots)
        ]
        torch.testing.assert_close(out, torch.stack(rows).bfloat16(), atol=1e-6, rtol=0.005)


@pytest.mark.parametrize("slot", [0, 1, 2])
@pytest.mark.parametrize("tokens", [1, 40], ids=["few", "many"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.1)], ids=["fp32", "bf16"]
)
def test_tokens_of_one_adapter_get_its_product(slot, tokens, dtype, tolerance):
    stack, weights = made(dtype)
    check(stack, weights, [slot] * tokens, dtype=dtype, tolerance=tolerance)


def test_parts_of_one_tensor_are_added_to_in_place():
    """Layers whose base product is one are given as parts of its result."""
    stack, slots = made()
    x, joined = torch.ones(4, IN), torch.zeros(4, sum(OUTS))
    stack.add_to(joined.split(OUTS, dim=-1), x, Mix(only=0))
    expected = [product(x[0], pair, out) for pair, out in zip(slots[0], OUTS, strict=True)]
    torch.testing.assert_close(joined, torch.cat(expected).expand(4, -1))


def test_weights_that_were_taken_back_leave_the_others_and_room_for_the_next():
    stack, slots = made()
    generator = torch.Generator().manual_seed(2)
    stack.append(low_rank((20, 20, 20), generator))
    stack.take_back()
    check(stack, slots, [0, 1, 2])
    slots.append(low_rank((1, 2, 0), generator))
    stack.append(slots[-1])
    check(stack, slots, [0, 1, 2, 3])
    assert stack.depth == 5 + 2 + 3  # not what was taken back


def test_an_append_that_fails_changes_nothing():
    stack, slots = made()
    odd = (torch.ones(9, IN), torch.ones(9, 7))
    with pytest.raises(RuntimeError):
        stack.append([odd, None, None])
    check(stack, slots, [0, 1, 2])
    stack.remove(2)


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_a_slot_that_is_given_up_is_taken_by_the_last_one(slot):
    stack, slots = made()
    stack.remove(slot)
    slots[slot] = slots[-1]
    check(stack, slots[:2], [0, 1])
    stack.trim()
    check(stack, slots[:2], [0, 1])


def test_a_stack_that_no_adapter_adapts_has_no_depth():
    stack, _ = made(ranks=[(0, 0, 0), (2, 0, 0)])
    assert stack.depth == 2
    stack.remove(1)
    stack.trim()
    assert stack.depth == 0
