"""Attention over a packed row: each prefix over itself, each suffix over its prefix and itself.

Registered with transformers under NAME; `model.set_attn_implementation` switches a model to it. As
transformers knows no mask builder of that name it builds none, and it hands the `layout` keyword
of the model's forward down to `packed_attention`.

On a CPU the forward pass is torch's fused kernel, whose backward pass would be the slowest part of
a training step: there `PackedAttention` takes plain matrix products. On a GPU torch's kernels do
the work (`workers.ml.fused`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

from core.errors import JobFailure
from workers.ml.fused import fused_attention
from workers.ml.packing import Layout

NAME = "tuneyard_packed"
BLOCK = 128  # tokens
# What some models' attention adds; none of it can be left out silently.
ADDITIONS = ("softcap", "s_aux", "position_bias")
UNSUPPORTED = ("attention_mask", "dropout", *ADDITIONS)
FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


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
    **kwargs,
) -> tuple[Tensor, None]:
    """query [1, H, T, D], key and value [1, Hkv, T, D] of a packed row -> [1, T, H, D].

    No padding mask is taken: padding lies where nothing looks. JobFailure (config) where a model
    asks for what this can't do: dropout inside attention, capped scores, sinks; ValueError for a
    window shorter than an example.
    """
    asked = {"attention_mask": attention_mask, "dropout": dropout or None} | kwargs
    if odd := [name for name in UNSUPPORTED if asked.get(name) is not None]:
        raise JobFailure("config", f"the model's attention uses {odd[0]}, which can't be trained")
    if sliding_window and layout.longest > sliding_window:
        raise ValueError(f"examples must be shorter than the model's window of {sliding_window}")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.device.type == "cpu":
        return PackedAttention.apply(query, key, value, layout, scaling), None
    return fused_attention(query, key, value, layout, scaling).transpose(1, 2), None


class PackedAttention(torch.autograd.Function):
    """One autograd node, part by part (`parts_of`); the parts of a query are joined by their
    log-sum-exp, which is exact. It keeps its inputs, its output and the log-sum-exp; probabilities
    are computed again in the backward pass (FlashAttention; Dao et al. 2022, algorithm 4). What one
    suffix' queries have to do with another's keys is computed for neighbours alone, and hidden.

    In the backward pass the G query heads that share a key head lie side by side, [Hkv, T * G, D]:
    a span of tokens is a slice of rows there, and its products with shared keys are one matrix
    product a key head.
    """

    @staticmethod
    def forward(ctx, query, key, value, layout, scaling):
        """query [1, H, T, D], key and value [1, Hkv, T, D] -> [1, T, H, D]."""
        out = query.new_zeros(query.transpose(1, 2).shape)
        log_sum = query.new_zeros(query.shape[:3], dtype=torch.float32)
        for part in parts_of(layout, query.dtype):
            q, k, v = query[:, :, part.rows], key[:, :, part.keys], value[:, :, part.keys]
            result = FUSED(q, k, v, attn_mask=part.mask, scale=scaling)
            its_out, its_sum = out[:, part.rows].transpose(1, 2), log_sum[:, :, part.rows]
            if part.mask is not None:
                its_out.copy_(result[0])
                its_sum.copy_(result[1])
            else:
                _join(its_out, its_sum, *result)
        ctx.save_for_backward(query, key, value, out, log_sum)
        ctx.layout, ctx.scaling = layout, scaling
        return out

    @staticmethod
    def backward(ctx, grad):
        query, key, value, out, log_sum = ctx.saved_tensors
        scaling, heads, width = ctx.scaling, key.shape[1], key.shape[3]
        changes = (grad[0].float() * out[0].float()).sum(dim=-1)
        q = _by_key_head(_less(query[0].transpose(0, 1), log_sum[0].t() / scaling), heads)
        d_out = _by_key_head(_less(grad[0], changes), heads)
        k, v = (functional.pad(t[0], (0, 2), value=1.0) for t in (key, value))
        dq = torch.zeros_like(q[..., :width])
        dk, dv = (t.new_zeros(t.shape[1:], dtype=torch.float32) for t in (key, value))
        for part in parts_of(ctx.layout, query.dtype):
            hidden = part.mask_by_head(query.shape[1] // heads, q)
            its_k, its_v = k[:, part.keys].contiguous(), v[:, part.keys].contiguous()
            for rows in part.blocks(query.shape[1] // heads):
                its_q, d_its = q[:, rows].contiguous(), d_out[:, rows].contiguous()
                beta = 0 if part.mask is None else 1
                p = torch.baddbmm(hidden, its_q, its_k.mT, beta=beta, alpha=scaling).exp_()
                ds = (d_its @ its_v.mT).mul_(p)
                dq[:, rows] += (ds @ its_k)[..., :width]
                dk[:, part.keys] += (ds.mT @ its_q)[..., :width]
                dv[:, part.keys] += (p.mT @ d_its)[..., :width]
        dq = _by_token(dq.mul_(scaling), key.shape[2]).transpose(0, 1)
        return dq[None], dk.mul_(scaling).to(k.dtype)[None], dv.to(v.dtype)[None], None, None


@dataclass(frozen=True)
class Part:
    """Queries `rows` and the keys that they see, spans of a row's tokens: all of `keys`, or where
    `mask` [queries, keys] is zero; elsewhere it is minus infinity."""

    rows: slice
    keys: slice
    mask: Tensor | None = None

    def mask_by_head(self, shares: int, some: Tensor) -> Tensor:
        """The mask with its rows by key head; something to be passed over where there is none."""
        if self.mask is None:
            return some.new_empty(1, 1)
        return self.mask.repeat_interleave(shares, dim=0)

    def blocks(self, shares: int) -> Iterator[slice]:
        """Its queries by key head, so many at a time that their scores stay in a core's cache."""
        for start in range(self.rows.start, self.rows.stop, BLOCK):
            yield slice(start * shares, min(start + BLOCK, self.rows.stop) * shares)


@lru_cache(maxsize=1)
def parts_of(layout: Layout, dtype: torch.dtype) -> tuple[Part, ...]:
    """A row's, made once for all layers. Those that every query has, with a mask, come first: a
    block of neighbours over itself. Then a long span's blocks over what is before them, and all
    suffixes of a tree over its prefix."""
    within, before = [], []
    for tree in layout.trees:
        trunk = slice(tree.start, tree.trunk_end)
        spans = [(tree.start, tree.trunk_end)] if tree.prefix else []
        for block in _blocks([*spans, *tree.suffixes()]):
            rows = slice(block[0].start, block[-1].stop)
            within.append(Part(rows, rows, _mask(block, dtype)))
        for start, end in [*spans, *tree.suffixes()]:
            for first in range(start + BLOCK, end, BLOCK):
                rows = slice(first, min(first + BLOCK, end))
                before.append(Part(rows, slice(start, first)))
        if tree.prefix:
            before.append(Part(slice(tree.trunk_end, tree.end), trunk))
    return (*within, *before)


def _blocks(spans: Sequence[tuple[int, int]]) -> list[list[slice]]:
    """Spans side by side, long ones in pieces: at most BLOCK tokens each."""
    blocks: list[list[slice]] = []
    for start, end in spans:
        for first in range(start, end, BLOCK):
            piece = slice(first, min(first + BLOCK, end))
            if blocks and piece.stop - blocks[-1][0].start <= BLOCK:
                blocks[-1].append(piece)
            else:
                blocks.append([piece])
    return blocks


def _mask(block: Sequence[slice], dtype: torch.dtype) -> Tensor:
    """[W, W] of pieces side by side: hidden is what is behind a query or in another piece."""
    widths = torch.tensor([piece.stop - piece.start for piece in block])
    piece = torch.arange(len(block)).repeat_interleave(widths)
    seen = (piece[:, None] == piece).tril_()
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)


def _join(out: Tensor, log_sum: Tensor, more: Tensor, its_sum: Tensor) -> None:
    """Adds a part to results [1, H, L, D] and their log-sum-exp [1, H, L], in place."""
    share = torch.sigmoid(its_sum - log_sum).unsqueeze(-1)
    out.copy_(out.float().lerp_(more.float(), share))
    log_sum.copy_(torch.logaddexp(log_sum, its_sum))


def _less(states: Tensor, less: Tensor) -> Tensor:
    """[..., D] and [...] in fp32 -> [..., D + 2], whose products with keys that end in two ones are
    those of `states`, less that: a matrix product adds up in fp32, and two numbers of bf16 hold
    what one would round."""
    coarse = (-less).to(states.dtype)
    fine = (-less - coarse).to(states.dtype)
    return torch.cat([states, coarse.unsqueeze(-1), fine.unsqueeze(-1)], dim=-1)


def _by_key_head(states: Tensor, heads: int) -> Tensor:
    """[T, H, D] -> [Hkv, T * G, D], contiguous."""
    tokens, _, width = states.shape
    return states.view(tokens, heads, -1, width).transpose(0, 1).reshape(heads, -1, width)


def _by_token(states: Tensor, tokens: int) -> Tensor:
    """[Hkv, T * G, D] -> [T, H, D], contiguous."""
    heads, _, width = states.shape
    return states.view(heads, tokens, -1, width).transpose(0, 1).reshape(tokens, -1, width)


AttentionInterface.register(NAME, packed_attention)
