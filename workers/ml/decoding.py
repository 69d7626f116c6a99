"""Attention of a generation step: every row over its prefix and over itself, in one flat batch.

All tokens of a step stand in one sequence [1, T]: first one token for each row that is being
decoded, or several with a draft, then the whole suffixes of the rows that enter. Nothing is padded
but inside the attention of entering rows. The two parts of a row's attention, over the prefix (one
product for all rows) and over its own positions, are joined by their log-sum-exp, which is exact
(Hydragen, arXiv 2402.05099; the same algebra as flash attention's blocks).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import AttentionInterface

from core.errors import JobFailure
from workers.ml.attention import ADDITIONS
from workers.ml.cache import Prefix, PrefixGroup, RowCache
from workers.ml.grouping import Padded

NAME = "tuneyard_rows"
# Stands for minus infinity: a part of which nothing is visible still has a (vanishing) weight.
HIDDEN = -1e30
# Of plain attention's block: 32 heads over 8,192 keys take 0.5 GB of float32, not 8.
QUERIES = 512


@dataclass(frozen=True)
class Entering:
    """Rows `first` … `first + n` that bring their whole suffix of up to `longest` tokens.

    `gather` [n, longest]: which token of the step stands there (padding repeats the first one).
    `scatter` [tokens]: where each token's result lies in the flat [n * longest].
    """

    first: int
    gather: Tensor
    scatter: Tensor


@dataclass(frozen=True)
class Shared:
    """`tokens` of a step that attend to prefixes of one length: all to a single one, or as `batch`
    has them, each group to its own."""

    group: PrefixGroup
    tokens: slice | Tensor
    batch: Padded | None = None


@dataclass(frozen=True)
class Step:
    """One forward. `decoding` rows with `width` tokens each, their cache filled up to `longest`;
    `mask` [decoding, 1, width, longest] float32, -inf behind each token.
    `shared`: the prefixes in use, and which tokens of the step attend to them.
    `prefill`: the step computes a piece of this prefix, and nothing else is in it.
    `positions` [T] of the tokens and `starts` [rows] of the rows' own parts, counted from the
    beginning of the text; `reach` is the largest position + 1."""

    cache: RowCache
    positions: Tensor
    reach: int
    starts: Tensor | None = None
    decoding: int = 0
    width: int = 1
    longest: int = 0
    mask: Tensor | None = None
    entering: Entering | None = None
    shared: tuple[Shared, ...] = ()
    prefill: Prefix | None = None


def rows_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    step: Step,
    scaling: float | None = None,
    **kwargs,
) -> tuple[Tensor, None]:
    """query [1, H, T, D], key and value [1, Hkv, T, D], already in the cache -> [1, T, H, D]."""
    if odd := [name for name in ADDITIONS if kwargs.get(name) is not None]:
        raise JobFailure("config", f"the model's attention uses {odd[0]}, which is not supported")
    window = kwargs.get("sliding_window")
    window = window if window and step.reach > window else None
    if step.prefill is not None:
        held = step.prefill.keys[module.layer_idx], step.prefill.values[module.layer_idx]
        return _prefill(query, *held, step, scaling, window).transpose(1, 2), None
    flat = query[0].transpose(0, 1)
    out, weight = _own(flat, module.layer_idx, step, scaling, window)
    for one in step.shared:
        tokens = one.tokens
        shared, shared_weight = _over_prefixes(flat, one, step, module.layer_idx, scaling, window)
        out[tokens] = _joined(out[tokens], weight[tokens], shared, shared_weight)
    return out.unsqueeze(0), None


def attend(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float | None, mask: Tensor | None = None,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """[B, H, Lq, D] over [B, Hkv, Lk, D]: the result and its log-sum-exp [B, H, Lq] in float32."""
    if q.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, attn_mask=mask, scale=scale
        )
    return _attend_plain(q, k, v, scale=scale, mask=mask, causal=causal)


def _attend_plain(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float | None, mask: Tensor | None, causal: bool
) -> tuple[Tensor, Tensor]:
    """`attend` by matrix products, for devices whose fused kernels don't give a log-sum-exp. In
    blocks of queries: of a long prompt's scores only so many exist at a time."""
    k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for t in (k, v))
    # Scaled before they are multiplied: beyond 65,504 a product in fp16 is infinite. By a power of
    # two, which rounds nothing; the rest of the scale comes in float32.
    rest, power = math.frexp(scale or q.shape[-1] ** -0.5)
    q = q * 2.0**power
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], q.shape[-2], -1)
    parts = []
    for start in range(0, q.shape[-2], QUERIES):
        block = slice(start, min(start + QUERIES, q.shape[-2]))
        scores = (q[..., block, :] @ k.transpose(-1, -2)).float() * rest
        if causal:
            future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device)
            scores.masked_fill_(future.triu(1 + start), float("-inf"))
        if mask is not None:
            scores += mask[..., block, :]
        parts.append((scores.softmax(-1).to(v.dtype) @ v, scores.logsumexp(-1)))
    return torch.cat([out for out, _ in parts], 2), torch.cat([lse for _, lse in parts], 2)


def _prefill(
    q: Tensor, keys: Tensor, values: Tensor, step: Step, scale: float | None, window: int | None
) -> Tensor:
    """The last tokens of `keys` [1, Hkv, P, D], a prefix' newest piece, over that and over what is
    before it."""
    if window is not None:
        mask = _window_mask(step.positions, torch.arange(keys.shape[2], device=q.device), window)
        return attend(q, keys, values, scale=scale, mask=mask)[0]
    before = keys.shape[2] - q.shape[2]
    own = attend(q, keys[:, :, before:], values[:, :, before:], causal=True, scale=scale)
    if not before:
        return own[0]
    return _joined(*own, *attend(q, keys[:, :, :before], values[:, :, :before], scale=scale))


def _joined(out: Tensor, weight: Tensor, more: Tensor, its_weight: Tensor) -> Tensor:
    """Attention over two parts, out of the results [..., D] and log-sum-exps [...] of each."""
    share = torch.sigmoid(its_weight - weight).unsqueeze(-1)
    return torch.lerp(out.float(), more.float(), share).to(out.dtype)


def _window_mask(queries: Tensor, keys: Tensor, window: int | None) -> Tensor | None:
    """[…, Lq] and […, Lk] positions -> [B, 1, Lq, Lk] float32 for causal attention that looks back
    over `window` positions (the token's own one included); None without a window."""
    if window is None:
        return None
    queries, keys = queries[..., :, None], keys[..., None, :]
    hidden = (keys > queries) | (keys <= queries - window)
    mask = torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, HIDDEN)
    return mask.view(-1, 1, *mask.shape[-2:])


def _own(
    q: Tensor, layer: int, step: Step, scale: float | None, window: int | None
) -> tuple[Tensor, Tensor]:
    """Each token over its row's own positions: [T, H, D] and log-sum-exp [T, H]."""
    parts = []
    keys, values = step.cache.keys[layer], step.cache.values[layer]
    if step.decoding:
        parts.append(_decoding(q, keys, values, step, scale, window))
    if step.entering is not None:
        parts.append(_entering(q, keys, values, step, scale, window))
    if len(parts) == 1:
        return parts[0]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def _decoding(
    q: Tensor, keys: Tensor, values: Tensor, step: Step, scale: float | None, window: int | None
) -> tuple[Tensor, Tensor]:
    """Each row's last `width` tokens over the row, causally."""
    rows, width = step.decoding, step.width
    k, v = (t[:rows, : step.longest].transpose(1, 2) for t in (keys, values))
    shape = (rows, width, k.shape[1], q.shape[1] // k.shape[1])
    # The heads that share a key head stand as its queries: each key is read once.
    grouped = q[: rows * width].unflatten(1, shape[2:]).unflatten(0, shape[:2])
    grouped = grouped.permute(0, 2, 3, 1, 4).flatten(2, 3)
    mask = step.mask
    if window is not None:
        own = torch.arange(step.longest, device=q.device) + step.starts[:rows, None]
        mask = _window_mask(step.positions[: rows * width].view(rows, width), own, window)
    if width > 1:
        mask = mask.repeat(1, 1, shape[3], 1)
    out, weight = attend(grouped, k, v, mask=mask, scale=scale)
    out = out.unflatten(2, (shape[3], width)).permute(0, 3, 1, 2, 4)
    weight = weight.unflatten(2, (shape[3], width)).permute(0, 3, 1, 2)
    return out.reshape(rows * width, *q.shape[1:]), weight.reshape(rows * width, -1)


def _entering(
    q: Tensor, keys: Tensor, values: Tensor, step: Step, scale: float | None, window: int | None
) -> tuple[Tensor, Tensor]:
    """Causal attention within each suffix; padding stands behind it, where nothing looks."""
    entering = step.entering
    count, longest = entering.gather.shape
    rows = slice(entering.first, entering.first + count)
    k, v = (t[rows, :longest].transpose(1, 2) for t in (keys, values))
    within = torch.arange(longest, device=q.device).expand(count, -1)
    mask = _window_mask(within, within, window)
    states = q[entering.gather].transpose(1, 2)
    out, weight = attend(states, k, v, causal=mask is None, scale=scale, mask=mask)
    flat = out.transpose(1, 2).reshape(count * longest, *q.shape[1:])
    flat_weight = weight.transpose(1, 2).reshape(count * longest, -1)
    return flat[entering.scatter], flat_weight[entering.scatter]


def _over_prefixes(
    q: Tensor, shared: Shared, step: Step, layer: int, scale: float | None, window: int | None
) -> tuple[Tensor, Tensor]:
    """Tokens over their prefix, in their order: a single product for each prefix and key head."""
    k, v = shared.group.keys[layer], shared.group.values[layer]  # [n, Hkv, P, D]
    tokens = shared.tokens if shared.batch is None else shared.batch.tokens
    heads, width = q.shape[1:]
    shape = (len(k), -1, k.shape[1], heads // k.shape[1])
    grouped = q[tokens].view(*shape, width).permute(0, 2, 1, 3, 4).flatten(2, 3)
    mask = None
    if window is not None:
        each = step.positions[tokens].view(len(k), -1).repeat_interleave(shape[3], dim=1)
        mask = _window_mask(each, torch.arange(k.shape[2], device=k.device), window)
    out, weight = attend(grouped, k, v, scale=scale, mask=mask)
    out = out.unflatten(2, (-1, shape[3])).permute(0, 2, 1, 3, 4).reshape(-1, heads, width)
    weight = weight.unflatten(2, (-1, shape[3])).permute(0, 2, 1, 3).reshape(-1, heads)
    if shared.batch is None:
        return out, weight
    return out[shared.batch.places], weight[shared.batch.places]


AttentionInterface.register(NAME, rows_attention)
