"""Attention over a packed row: each prefix over itself, each suffix over its prefix and itself.

Registered with transformers under NAME; `model.set_attn_implementation` switches a model to it. As
transformers knows no mask builder of that name it builds none, and it hands the `layout` keyword
of the model's forward down to `packed_attention`.

On a CPU torch's fused attention would be the slowest part of a training step in its backward pass,
so there `PackedAttention` takes plain matrix products. On a GPU torch's kernels do the work
(`workers.ml.fused`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import AttentionInterface

from workers.ml.fused import fused_attention
from workers.ml.packing import Layout

NAME = "tuneyard_packed"


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs,
) -> tuple[Tensor, None]:
    """query [1, H, T, D], key and value [1, Hkv, T, D] of a packed row -> [1, T, H, D].

    No padding mask is taken: padding lies where nothing looks. ValueError where a model asks for
    what this can't do: dropout inside attention, capped scores, a window shorter than an example.
    """
    if attention_mask is not None or dropout or softcap:
        raise ValueError("packed attention takes no mask, no dropout and no capped scores")
    if sliding_window and layout.longest > sliding_window:
        raise ValueError(f"examples must be shorter than the model's window of {sliding_window}")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.device.type == "cpu":
        return PackedAttention.apply(query, key, value, layout, scaling), None
    return fused_attention(query, key, value, layout, scaling).transpose(1, 2), None


class PackedAttention(torch.autograd.Function):
    """One autograd node, which keeps its inputs only: probabilities are computed again in the
    backward pass (as FlashAttention does; Dao et al. 2022). A prefix' keys and values are
    multiplied with all its suffixes' queries at once, never copied for each, and what one suffix'
    queries have to do with another's keys is never computed.

    The G query heads that share a key head lie side by side, [Hkv, T * G, D]: a span of tokens is a
    slice of rows there, whose products with shared keys are one matrix product a key head.
    """

    @staticmethod
    def forward(ctx, query, key, value, layout, scaling):
        """query [1, H, T, D], key and value [1, Hkv, T, D] -> [1, T, H, D]."""
        ctx.save_for_backward(query, key, value)
        ctx.layout, ctx.scaling = layout, scaling
        k, v = key[0], value[0]
        q = _by_key_head(query[0].transpose(0, 1), len(k))
        out = torch.zeros_like(q)
        for part in parts_of(layout):
            _attend(part, q, k, v, scaling, out)
        return _by_token(out, k.shape[1])[None]

    @staticmethod
    def backward(ctx, grad):
        query, key, value = ctx.saved_tensors
        k, v = key[0], value[0]
        q = _by_key_head(query[0].transpose(0, 1), len(k))
        grad = _by_key_head(grad[0], len(k))
        dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for part in parts_of(ctx.layout):
            _attend_backward(part, grad, q, k, v, ctx.scaling, dq, dk, dv)
        return _by_token(dq, k.shape[1]).transpose(0, 1)[None], dk[None], dv[None], None, None


@dataclass(frozen=True)
class Part:
    """Tokens that attend alike: each sees all of the `shared` span, and of that of the `own` spans
    which holds it whatever is not behind it. `offsets` [S] of each token in its own span."""

    shared: slice
    own: list[tuple[int, int]]
    offsets: Tensor

    @property
    def start(self) -> int:
        return self.own[0][0]

    @property
    def end(self) -> int:
        return self.own[-1][1]

    @property
    def prefix(self) -> int:
        return self.shared.stop - self.shared.start


def parts_of(layout: Layout) -> Iterator[Part]:
    """Of each tree the prefix, which shares nothing, and its suffixes."""
    for tree in layout.trees:
        start, trunk_end, end = tree.start, tree.trunk_end, tree.end
        if tree.prefix:
            offsets = layout.offsets[start:trunk_end]
            yield Part(slice(start, start), [(start, trunk_end)], offsets)
        yield Part(slice(start, trunk_end), tree.suffixes(), layout.offsets[trunk_end:end])


def _probabilities(part: Part, q: Tensor, k: Tensor, scaling: float) -> Tensor:
    """q [Hkv, T * G, D], k [Hkv, T, D] -> [Hkv, S * G, P + L], L being the longest own span. The
    softmax adds up in fp32 whatever the dtype."""
    heads, shares, prefix = len(q), q.shape[1] // k.shape[1], part.prefix
    columns = torch.arange(max(end - start for start, end in part.own), device=q.device)
    hidden = q.new_zeros(len(part.offsets), len(columns))
    hidden.masked_fill_(part.offsets.unsqueeze(1) < columns, -torch.inf)
    scores = q.new_empty(heads, len(hidden), shares, prefix + len(columns))
    scores[..., prefix:] = hidden.unsqueeze(1)
    scores = scores.flatten(1, 2)
    for rows, keys, block in _blocks(part, shares, scores):
        block.baddbmm_(q[:, rows], k[:, keys].mT, alpha=scaling)
    if prefix:
        rows = slice(part.start * shares, part.end * shares)
        scores[..., :prefix].baddbmm_(q[:, rows], k[:, part.shared].mT, beta=0, alpha=scaling)
    return torch.softmax(scores, dim=2)


def _attend(part: Part, q: Tensor, k: Tensor, v: Tensor, scaling: float, out: Tensor) -> None:
    """Adds to `out` [Hkv, T * G, D]."""
    shares = q.shape[1] // k.shape[1]
    p = _probabilities(part, q, k, scaling)
    for rows, keys, block in _blocks(part, shares, p):
        out[:, rows].baddbmm_(block, v[:, keys])
    if part.prefix:
        rows = slice(part.start * shares, part.end * shares)
        out[:, rows].baddbmm_(p[..., : part.prefix], v[:, part.shared])


def _attend_backward(
    part: Part, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, scaling: float,
    dq: Tensor, dk: Tensor, dv: Tensor,
) -> None:  # fmt: skip
    """Adds the gradients of q, k and v, from that of `_attend`'s output."""
    shares, prefix = q.shape[1] // k.shape[1], part.prefix
    rows = slice(part.start * shares, part.end * shares)
    p = _probabilities(part, q, k, scaling)
    dp = torch.empty_like(p)
    dp[..., prefix:] = 0
    for own, keys, block in _blocks(part, shares, dp):
        block.baddbmm_(grad[:, own], v[:, keys].mT)
    if prefix:
        dp[..., :prefix].baddbmm_(grad[:, rows], v[:, part.shared].mT, beta=0)
    ds = torch.ops.aten._softmax_backward_data(dp, p, 2, p.dtype)

    probabilities = (block for *_, block in _blocks(part, shares, p))
    for (own, keys, block), chances in zip(_blocks(part, shares, ds), probabilities, strict=True):
        dq[:, own].baddbmm_(block, k[:, keys], alpha=scaling)
        dk[:, keys].baddbmm_(block.mT, q[:, own], alpha=scaling)
        dv[:, keys].baddbmm_(chances.mT, grad[:, own])
    if prefix:
        dq[:, rows].baddbmm_(ds[..., :prefix], k[:, part.shared], alpha=scaling)
        dk[:, part.shared].baddbmm_(ds[..., :prefix].mT, q[:, rows], alpha=scaling)
        dv[:, part.shared].baddbmm_(p[..., :prefix].mT, grad[:, rows])


def _blocks(part: Part, shares: int, scores: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Of each own span the rows of its queries, those of its keys, and where `scores` holds the
    scores of both, [Hkv, W * G, W]."""
    for start, end in part.own:
        rows = slice(start * shares, end * shares)
        first = (start - part.start) * shares
        block = scores[:, first : first + (end - start) * shares, part.prefix :]
        yield rows, slice(start, end), block[..., : end - start]


def _by_key_head(states: Tensor, heads: int) -> Tensor:
    """[T, H, D] -> [Hkv, T * G, D], contiguous."""
    tokens, _, width = states.shape
    return states.view(tokens, heads, -1, width).transpose(0, 1).reshape(heads, -1, width)


def _by_token(states: Tensor, tokens: int) -> Tensor:
    """[Hkv, T * G, D] -> [T, H, D], contiguous."""
    heads, _, width = states.shape
    return states.view(heads, tokens, -1, width).transpose(0, 1).reshape(tokens, -1, width)


AttentionInterface.register(NAME, packed_attention)
