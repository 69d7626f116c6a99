"""Attention over a packed group: the prefix once, each suffix over prefix + itself. No T x T mask.

Registered with transformers under NAME; `model.set_attn_implementation` switches a model to it. As
transformers knows no mask builder of that name it builds none, and hands the `layout` keyword of the
model's forward down to `packed_attention`.
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
    **kwargs,
) -> tuple[Tensor, None]:
    """query [1, H, T, D], key and value [1, Hkv, T, D] of a packed row -> [1, T, H, D].

    No padding mask is taken: a packed row has no padding. Dropout inside attention isn't supported
    (models in use have none); LoRA's dropout is elsewhere.
    """
    if attention_mask is not None or dropout:
        raise ValueError("packed attention takes neither a mask nor dropout")
    prefix = layout.prefix
    parts = []
    if prefix:
        q, k, v = (t[:, :, :prefix] for t in (query, key, value))
        parts.append(
            F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
        )
    parts.append(_suffixes(query, key, value, layout=layout, scaling=scaling))
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _suffixes(query: Tensor, key: Tensor, value: Tensor, *, layout: Layout, scaling) -> Tensor:
    """[1, H, T - P, D]: the suffixes as padded rows, each over the broadcast prefix and itself."""
    q = _rows(query, layout)
    k = torch.cat([_shared(key, layout), _rows(key, layout)], dim=2)
    v = torch.cat([_shared(value, layout), _rows(value, layout)], dim=2)
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=layout.mask, scale=scaling, enable_gqa=True
    )
    n, heads, longest, width = out.shape
    flat = out.transpose(1, 2).reshape(n * longest, heads, width)
    return flat[layout.scatter].transpose(0, 1).unsqueeze(0)


def _rows(states: Tensor, layout: Layout) -> Tensor:
    """[1, H, T, D] -> the suffixes' [n, H, L, D]."""
    return states[0].transpose(0, 1)[layout.gather].transpose(1, 2)


def _shared(states: Tensor, layout: Layout) -> Tensor:
    """[1, H, T, D] -> the prefix' [n, H, P, D], a view."""
    return states[:, :, : layout.prefix].expand(layout.gather.shape[0], -1, -1, -1)


AttentionInterface.register(NAME, packed_attention)
