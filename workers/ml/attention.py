"""Attention over a packed group: the prefix once, each suffix over prefix + itself. No T x T mask.

Registered with transformers under NAME; `model.set_attn_implementation` switches a model to it. As
transformers knows no mask builder of that name it builds none, and it hands the `layout` keyword
of the model's forward down to `packed_attention`.

On a GPU torch's fused attention does the work. On a CPU its backward pass would be the slowest
part of a training step, so there `PackedAttention` takes plain matrix products.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

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

    No padding mask is taken: a packed row has no padding. ValueError where a model asks for what
    this can't do: dropout inside attention, capped scores, a window shorter than an example.
    """
    if attention_mask is not None or dropout or softcap:
        raise ValueError("packed attention takes no mask, no dropout and no capped scores")
    if sliding_window and layout.prefix + layout.longest > sliding_window:
        raise ValueError(f"examples must be shorter than the model's window of {sliding_window}")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.device.type == "cpu":
        out = PackedAttention.apply(query, key, value, layout, scaling)
    else:
        out = fused_attention(query, key, value, layout, scaling)
    return out.transpose(1, 2), None


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scaling: float
) -> Tensor:
    """[1, H, T, D] in and out, by torch's kernels, one mask [1, 1, L, P + L] for all suffixes."""
    prefix, width = layout.prefix, layout.width
    (q_prefix, q), (k_prefix, k), (v_prefix, v) = (_split(t, layout) for t in (query, key, value))
    parts = []
    if prefix:
        part = F.scaled_dot_product_attention(
            q_prefix[None], k_prefix[None], v_prefix[None],
            is_causal=True, scale=scaling, enable_gqa=True,
        )  # fmt: skip
        parts.append(part[0])
    mask = torch.ones(width, prefix + width, dtype=torch.bool, device=q.device).tril(prefix)
    out = F.scaled_dot_product_attention(
        q.transpose(0, 1),
        _behind(k_prefix, k),
        _behind(v_prefix, v),
        attn_mask=mask[None, None],
        scale=scaling,
        enable_gqa=True,
    )
    parts.append(_unsplit(out.transpose(0, 1), layout))
    return torch.cat(parts, dim=1)[None]


class PackedAttention(torch.autograd.Function):
    """The same as one autograd node, which keeps its inputs only: probabilities are computed again
    in the backward pass (as FlashAttention does; Dao et al. 2022), and the prefix' keys and values
    are multiplied with all suffixes' queries at once, never copied for each."""

    @staticmethod
    def forward(ctx, query, key, value, layout, scaling):
        ctx.save_for_backward(query, key, value)
        ctx.layout, ctx.scaling = layout, scaling
        parts = [_split(t, layout) for t in (query, key, value)]
        (q_prefix, k_prefix, v_prefix), (q, k, v) = zip(*parts, strict=True)
        out = _unsplit(_attend(q, k, v, k_prefix, v_prefix, scaling), layout)
        if layout.prefix:
            alone = (t[:, None] for t in (q_prefix, k_prefix, v_prefix))
            nothing = k_prefix[:, :0]
            out = torch.cat([_attend(*alone, nothing, nothing, scaling)[:, 0], out], dim=1)
        return out[None]

    @staticmethod
    def backward(ctx, grad):
        layout, scaling = ctx.layout, ctx.scaling
        parts = [_split(t, layout) for t in (grad, *ctx.saved_tensors)]
        (g_prefix, q_prefix, k_prefix, v_prefix), (g, q, k, v) = zip(*parts, strict=True)
        dq, dk, dv, *shared = _attend_backward(g, q, k, v, k_prefix, v_prefix, scaling)
        grads = [_unsplit(t, layout) for t in (dq, dk, dv)]
        if layout.prefix:
            alone = (t[:, None] for t in (g_prefix, q_prefix, k_prefix, v_prefix))
            nothing = k_prefix[:, :0]
            dq, dk, dv, *_ = _attend_backward(*alone, nothing, nothing, scaling)
            heads = (dq[:, 0], dk[:, 0].add_(shared[0]), dv[:, 0].add_(shared[1]))
            grads = [torch.cat(pair, dim=1) for pair in zip(heads, grads, strict=True)]
        return *(t[None] for t in grads), None, None


def _split(states: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """[1, H, T, D] -> the prefix [H, P, D] and the suffixes as rows [H, n, L, D], zero-padded."""
    heads, _, width = states.shape[1:]
    prefix, suffixes = states[0, :, : layout.prefix], states[0, :, layout.prefix :]
    rows = states.new_zeros(heads, layout.suffixes * layout.width, width)
    rows = rows.index_copy(1, layout.scatter, suffixes)
    return prefix, rows.view(heads, layout.suffixes, layout.width, width)


def _unsplit(rows: Tensor, layout: Layout) -> Tensor:
    """[H, n, L, D] -> the suffixes' tokens [H, T - P, D]."""
    return rows.flatten(1, 2).index_select(1, layout.scatter)


def _behind(prefix: Tensor, rows: Tensor) -> Tensor:
    """[H, P, D] and [H, n, L, D] -> [n, H, P + L, D]."""
    shared = prefix.expand(rows.shape[1], -1, -1, -1)
    return torch.cat([shared, rows.transpose(0, 1)], dim=2)


def _probabilities(q: Tensor, k: Tensor, k_shared: Tensor, scaling: float) -> Tensor:
    """q [Hkv, n, G, L, D] (G query heads share a key head), k [Hkv, n, L, D], k_shared [Hkv, P, D]
    -> [Hkv * n, G * L, P + L]. The softmax adds up in fp32 whatever the dtype."""
    heads, n, shares, longest, width = q.shape
    hidden = q.new_full((longest, longest), -torch.inf).triu_(1).repeat(shares, 1)
    rows = q.view(heads * n, shares * longest, width)
    own = torch.baddbmm(hidden, rows, k.reshape(heads * n, longest, width).mT, alpha=scaling)
    if not k_shared.shape[1]:
        return torch.softmax(own, dim=2)
    flat = q.view(heads, n * shares * longest, width)
    shared = torch.baddbmm(q.new_zeros(1), flat, k_shared.mT, beta=0, alpha=scaling)
    shared = shared.view(heads * n, shares * longest, -1)
    return torch.softmax(torch.cat([shared, own], dim=2), dim=2)


def _attend(q, k, v, k_shared, v_shared, scaling) -> Tensor:
    """q [H, n, L, D], k, v [Hkv, n, L, D], shared [Hkv, P, D] -> [H, n, L, D]."""
    prefix = k_shared.shape[1]
    grouped = _by_key_head(q, k.shape[0])
    p = _probabilities(grouped, k, k_shared, scaling)
    out = p[:, :, prefix:] @ v.flatten(0, 1)
    if prefix:
        shared = p[:, :, :prefix].reshape(k.shape[0], -1, prefix) @ v_shared
        out += shared.view_as(out)
    return out.view_as(grouped).transpose(1, 2).reshape(q.shape)


def _attend_backward(grad, q, k, v, k_shared, v_shared, scaling) -> tuple[Tensor, ...]:
    """The gradients of q, k, v, k_shared and v_shared, from that of `_attend`'s output."""
    heads, n, longest, width = k.shape
    prefix = k_shared.shape[1]
    shape = q.shape
    q, grad = (_by_key_head(t, heads) for t in (q, grad))
    p = _probabilities(q, k, k_shared, scaling)
    flat_q, flat_grad = (t.view(heads, -1, width) for t in (q, grad))
    row_q, row_grad = (t.view(heads * n, -1, width) for t in (q, grad))
    k, v = k.reshape(heads * n, longest, width), v.reshape(heads * n, longest, width)

    dp = row_grad @ v.mT
    if prefix:
        shared = (flat_grad @ v_shared.mT).view(heads * n, row_q.shape[1], prefix)
        dp = torch.cat([shared, dp], dim=2)
    ds = torch.ops.aten._softmax_backward_data(dp, p, 2, p.dtype).mul_(scaling)

    dk, dv = ds[:, :, prefix:].mT @ row_q, p[:, :, prefix:].mT @ row_grad
    dq = ds[:, :, prefix:] @ k
    ds_shared, p_shared = (
        t[:, :, :prefix].reshape(heads, flat_q.shape[1], prefix) for t in (ds, p)
    )
    if prefix:
        dq += (ds_shared @ k_shared).view_as(dq)
    dk_shared, dv_shared = ds_shared.mT @ flat_q, p_shared.mT @ flat_grad
    dq = dq.view(q.shape).transpose(1, 2).reshape(shape)
    return (
        dq,
        dk.view(heads, n, longest, width),
        dv.view(heads, n, longest, width),
        dk_shared,
        dv_shared,
    )


def _by_key_head(q: Tensor, key_heads: int) -> Tensor:
    """[H, n, L, D] -> [Hkv, n, G, L, D], contiguous."""
    heads, n, longest, width = q.shape
    return q.view(key_heads, heads // key_heads, n, longest, width).transpose(1, 2).contiguous()


AttentionInterface.register(NAME, packed_attention)
