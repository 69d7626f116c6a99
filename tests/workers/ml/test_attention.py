import pytest
import torch

from workers.ml import attention
from workers.ml.attention import NAME, PackedAttention, packed_attention, parts_of
from workers.ml.fused import block_mask, by_trees, flex_attention, flex_runs, fused_attention, sees
from workers.ml.packing import Example, pack

HEADS, KEY_HEADS, WIDTH, SCALING = 6, 2, 16, 0.3


def example(prompt, completion):
    return Example(1, list(prompt), [0] * completion)


def rows():
    """Layouts: one prefix, none, three of different lengths, a single example."""
    one = [example([*range(20), 90 + k], 3 + 7 * k) for k in range(4)]
    other = [example([*range(30, 63), 90 + k], 5) for k in range(2)]
    alone = [example(range(70, 75), 4)]
    return {
        "one prefix": pack(one),
        "no prefix": pack(one, share_prefix=False),
        "three prefixes": pack(one, alone, other),
        "one example": pack(alone),
    }


@pytest.fixture(params=["one prefix", "no prefix", "three prefixes", "one example"])
def group(request):
    return rows()[request.param]


def book_mask(layout):
    tokens = len(layout.offsets)
    mask = torch.zeros(tokens, tokens, dtype=torch.bool)
    for tree in layout.trees:
        for start, end in [(tree.start, tree.trunk_end), *tree.suffixes()]:
            for token in range(start, end):
                mask[token, start : token + 1] = True
                if start >= tree.trunk_end:
                    mask[token, tree.start : tree.trunk_end] = True
    return mask


def by_mask(query, key, value, layout, scaling):
    """By the book: a T x T mask of what each token sees, built token by token."""
    mask = book_mask(layout)
    key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], dim=1) for t in (key, value))
    scores = (query @ key.mT * scaling).masked_fill(~mask, -torch.inf)
    return torch.nan_to_num(scores.softmax(-1)) @ value


def by_products(*arguments):
    return PackedAttention.apply(*arguments).transpose(1, 2)


def states_of(group, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    tokens = group.input_ids.shape[1]
    shapes = [(1, heads, tokens, WIDTH) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def results(attend, group, dtype=torch.float32, device="cpu"):
    """Output and gradients, where examples are: of padding, nothing is asked."""
    inputs = [t.to(device).requires_grad_() for t in states_of(group, dtype)]
    out = attend(*inputs, group.layout.to(device), SCALING)
    real = torch.zeros(out.shape[2], dtype=torch.bool)
    for tree, _, own in group.places():
        real[tree.start : tree.trunk_end] = real[own] = True
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * (weight * real[:, None]).to(device, dtype)).sum().backward()
    return [t[:, :, real].float().cpu() for t in (out.detach(), *(t.grad for t in inputs))]


@pytest.mark.parametrize("attend", [by_products, by_trees])
def test_output_and_gradients_are_those_of_a_mask(attend, group):
    for ours, theirs in zip(results(attend, group), results(by_mask, group), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", [4, 8, 24])
def test_they_are_in_blocks_of_any_length(monkeypatch, group, block):
    monkeypatch.setattr(attention, "BLOCK", block)
    parts_of.cache_clear()
    masks = [part.mask for part in parts_of(group.layout, torch.float32) if part.mask is not None]
    assert max(map(len, masks)) <= block
    for ours, theirs in zip(results(by_products, group), results(by_mask, group), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    parts_of.cache_clear()


def test_in_bf16_they_are_as_near_as_bf16_is(group):
    exact = results(by_mask, group)
    for ours, theirs in zip(results(by_products, group, torch.bfloat16), exact, strict=True):
        assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_flex_attention_is_told_the_same_mask(group):
    end = group.layout.trees[-1].end
    places = torch.arange(end)
    told = sees(group.layout)(None, None, places[:, None], places[None])
    assert torch.equal(told, book_mask(group.layout)[:end, :end])


def test_flex_attention_gives_the_same_output():
    """On a CPU it has no backward pass, so that a training there never takes it."""
    group = rows()["three prefixes"]
    states = states_of(group)
    assert not flex_runs(states[0])
    mask = block_mask(group.layout)
    assert block_mask(group.layout) is mask
    out = flex_attention(*states, block_mask=mask, scale=SCALING, enable_gqa=True)
    end = group.layout.trees[-1].end
    wanted = by_mask(*states, group.layout, SCALING)
    torch.testing.assert_close(out[:, :, :end], wanted[:, :, :end], rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("attend", [fused_attention, by_trees])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_output_and_gradients_are_those_of_a_mask(attend, dtype, group):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    exact = results(by_mask, group)
    for ours, theirs in zip(results(attend, group, dtype, "cuda"), exact, strict=True):
        assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_padding_is_finite_and_takes_no_gradient_to_an_example(group):
    inputs = [t.requires_grad_() for t in states_of(group)]
    out = by_products(*inputs, group.layout, SCALING)
    assert out.isfinite().all()
    end = group.layout.trees[-1].end
    assert out[:, :, end:].abs().sum() == 0
    padding = torch.zeros_like(out)
    padding[:, :, end:] = 1.0
    out.backward(padding)
    assert all(states.grad[:, :, :end].abs().sum() == 0 for states in inputs)


def test_a_window_shorter_than_the_examples_is_refused():
    states = states_of(group := rows()["one prefix"])
    with pytest.raises(ValueError, match="window of 8"):
        packed_attention(None, *states, None, layout=group.layout, sliding_window=8)


def test_transformers_knows_it_by_name():
    from transformers import AttentionInterface

    assert AttentionInterface()[NAME] is packed_attention
