"""The fused attention and its plain form agree, as do parts joined by their log-sum-exp."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from workers.ml.cache import MAX_ROWS, Prefix, RowCache, bytes_per_position, rows_that_fit
from workers.ml.decoding import QUERIES, _attend_plain, attend


def states(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_fused_and_plain_attention_agree():
    q, k, v = states(3, 4, 7, 16), states(3, 2, 7, 16), states(3, 2, 7, 16)
    for causal in (True, False):
        fused = attend(q, k, v, scale=0.3, causal=causal)
        plain = _attend_plain(q, k, v, scale=0.3, mask=None, causal=causal)
        for ours, theirs in zip(fused, plain, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_fused_and_plain_attention_agree_behind_a_mask():
    q, k, v = states(3, 2, 2, 16), states(3, 2, 9, 16), states(3, 2, 9, 16)
    mask = torch.zeros(3, 1, 1, 9)
    mask[0, :, :, 4:] = float("-inf")
    mask[2, :, :, 8:] = float("-inf")
    fused = attend(q, k, v, scale=None, mask=mask)
    plain = _attend_plain(q, k, v, scale=None, mask=mask, causal=False)
    for ours, theirs in zip(fused, plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True], ids=["causal", "masked"])
def test_plain_attention_in_blocks_is_that_of_the_whole(masked, monkeypatch):
    q, k, v = states(2, 4, 21, 16), states(2, 2, 21, 16), states(2, 2, 21, 16)
    mask = torch.zeros(2, 1, 21, 21).masked_fill_(states(21, 21) > 0.8, -1e30) if masked else None
    whole = _attend_plain(q, k, v, scale=0.3, mask=mask, causal=not masked)
    monkeypatch.setattr("workers.ml.decoding.QUERIES", 8)
    blocks = _attend_plain(q, k, v, scale=0.3, mask=mask, causal=not masked)
    for ours, theirs in zip(blocks, whole, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


class Largest(TorchDispatchMode):
    """The most numbers that any tensor has which torch makes."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.numbers = max(self.numbers, made.numel())
        return made


def test_of_a_long_prompt_s_scores_one_block_at_most_exists():
    heads, length = 4, 1300
    q = states(1, heads, length, 8)
    with Largest() as largest:
        _attend_plain(q, q, q, scale=None, mask=None, causal=True)
    assert largest.numbers == heads * QUERIES * length


@pytest.mark.parametrize("scale", [None, 0.09])
def test_scores_that_fp16_holds_are_finite_though_unscaled_they_are_not(scale):
    """64 products of 64 and 32: 131,072, and an eighth of it scaled."""
    q, k, v = 64 + states(1, 2, 3, 64), 32 + states(1, 2, 5, 64) / 8, states(1, 2, 5, 64)
    half = [t.half() for t in (q, k, v)]
    assert not (half[0] @ half[1].transpose(-1, -2)).isfinite().all()
    out, weight = _attend_plain(*half, scale=scale, mask=None, causal=False)
    assert out.isfinite().all()
    whole = _attend_plain(*(t.float() for t in half), scale=scale, mask=None, causal=False)
    torch.testing.assert_close(weight, whole[1], rtol=1e-3, atol=0)


def test_a_copied_row_keeps_its_positions_and_others_theirs():
    cache = RowCache(rows=3, length=4)
    cache.aim_at(torch.arange(12))
    keys = torch.arange(24.0).view(1, 12, 2).transpose(0, 1).view(1, 1, 12, 2)
    cache.update(keys, keys + 100, 0)
    before = cache.keys[0].clone()
    cache.copy([2], [0], 3)
    assert torch.equal(cache.keys[0][0, :3], before[2, :3])
    assert torch.equal(cache.keys[0][1:], before[1:])
    assert torch.equal(cache.values[0][0, :3], before[2, :3] + 100)


def test_a_prefix_is_kept_apart_from_the_rows():
    cache, prefix = RowCache(rows=2, length=2), Prefix((5, 6, 7))
    cache.aim_at(prefix)
    cache.update(states(1, 2, 3, 8), states(1, 2, 3, 8), 0)
    assert prefix.keys[0].shape == (1, 2, 3, 8)
    assert cache.keys == []


def test_rows_are_bounded_by_memory_and_by_a_cap():
    assert rows_that_fit(2**60, "cpu") == 1
    assert rows_that_fit(1, "cpu") == MAX_ROWS


def test_bytes_of_a_position_count_keys_and_values_of_all_layers():
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2
    )
    assert bytes_per_position(config, torch.bfloat16) == 2 * 3 * 2 * 16 * 2
