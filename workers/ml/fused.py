"""The same attention by torch's fused kernels, for GPUs. Knows a row's layout, no model.

FlexAttention (arXiv 2412.05496) where its kernels run: one call for a row, blocks that nobody sees
are left out. Elsewhere scaled_dot_product_attention, tree by tree.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from workers.ml.packing import Layout, Tree

FLEX_WIDTHS = (16, 32, 64, 128, 256)  # of a head
FLEX_CAPABILITY = (8, 0)  # Ampere


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scaling: float
) -> Tensor:
    """query [1, H, T, D], key and value [1, Hkv, T, D] -> [1, H, T, D]."""
    if flex_runs(query):
        flex = compiled_flex_attention()
        return flex(
            query, key, value, block_mask=block_mask(layout), scale=scaling, enable_gqa=True
        )
    return by_trees(query, key, value, layout, scaling)


def flex_runs(query: Tensor) -> bool:
    """Whether FlexAttention's kernels do, forward and backward, on this device and heads so wide.
    On a CPU it has no backward pass."""
    return (
        query.device.type == "cuda"
        and torch.version.hip is None
        and torch.cuda.get_device_capability(query.device) >= FLEX_CAPABILITY
        and query.shape[-1] in FLEX_WIDTHS
        and find_spec("triton") is not None
    )


@cache
def compiled_flex_attention() -> Callable[..., Tensor]:
    """Uncompiled it would make all T x T scores. Dynamic: rows are of many lengths."""
    return torch.compile(flex_attention, dynamic=True)


@lru_cache(maxsize=1)
def block_mask(layout: Layout) -> BlockMask:
    """The row's, made once for all layers and for the backward pass."""
    tokens, device = len(layout.offsets), layout.offsets.device
    return create_block_mask(sees(layout), None, None, tokens, tokens, device=device)


def sees(layout: Layout) -> Callable[..., Tensor]:
    """Whether a query sees a key, of the same row both, as FlexAttention asks: in its own tree's
    prefix or its own suffix, and not behind it."""
    tree = torch.full((len(layout.offsets),), -1)
    suffix = torch.zeros_like(tree)
    for number, one in enumerate(layout.trees):
        tree[one.start : one.end] = number
        for k, (start, end) in enumerate(one.suffixes(), start=1):
            suffix[start:end] = k
    tree, suffix = tree.to(layout.offsets.device), suffix.to(layout.offsets.device)

    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        own = (suffix[key] == 0) | (suffix[key] == suffix[query])
        return (key <= query) & (tree[key] == tree[query]) & own

    return seen


def by_trees(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scaling: float) -> Tensor:
    """[1, H, T, D], by scaled_dot_product_attention."""
    parts = [_tree_attention(query, key, value, tree, scaling) for tree in layout.trees]
    rest = query.shape[2] - layout.trees[-1].end
    return F.pad(torch.cat(parts, dim=2), (0, 0, 0, rest))


def _tree_attention(q: Tensor, k: Tensor, v: Tensor, tree: Tree, scaling: float) -> Tensor:
    """The prefix alone, and all suffixes side by side under one mask [1, 1, L, P + L]."""
    kernel = {"scale": scaling, "enable_gqa": True}
    start, trunk_end, width = tree.start, tree.trunk_end, max(tree.widths)
    q_prefix, k_prefix, v_prefix = (t[:, :, start:trunk_end] for t in (q, k, v))
    q, k, v = (_side_by_side(t, tree) for t in (q, k, v))
    k, v = (
        torch.cat([prefix.expand(len(rows), -1, -1, -1), rows], dim=2)
        for prefix, rows in ((k_prefix, k), (v_prefix, v))
    )
    mask = torch.ones(width, tree.prefix + width, dtype=torch.bool, device=q.device)
    rows = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask.tril(tree.prefix)[None, None], **kernel
    )
    out = [row[None, :, :length] for row, length in zip(rows, tree.widths, strict=True)]
    if tree.prefix:
        out.insert(
            0,
            F.scaled_dot_product_attention(q_prefix, k_prefix, v_prefix, is_causal=True, **kernel),
        )
    return torch.cat(out, dim=2)


def _side_by_side(states: Tensor, tree: Tree) -> Tensor:
    """[1, H, T, D] -> the tree's suffixes as rows [n, H, L, D], zero-padded."""
    longest = max(tree.widths)
    rows = [
        F.pad(states[0, :, start:end], (0, 0, 0, longest - (end - start)))
        for start, end in tree.suffixes()
    ]
    return torch.stack(rows)
