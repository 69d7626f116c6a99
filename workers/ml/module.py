"""The one training module: a packed group in, (sum of token losses, token count) out.

An ordinary `nn.Module`, so gradient checkpointing, accumulation and data parallelism work as for
any module. It never uses `past_key_values`: a layer under gradient checkpointing drops them.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from workers.ml import attention
from workers.ml.packing import Group


class TrainingModule(nn.Module):
    """Wraps a causal language model (with or without a PEFT adapter), whose attention it switches
    to the packed one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        model.set_attn_implementation(attention.NAME)
        self.model = model

    def forward(self, group: Group) -> tuple[Tensor, int]:
        """Sum (not mean) of the labels' cross-entropies, so that groups add up to a batch that is
        normalised by its tokens. The head runs on label positions alone."""
        output = self.model(
            input_ids=group.input_ids,
            position_ids=group.position_ids,
            logits_to_keep=group.label_positions,
            layout=group.layout,
            use_cache=False,
        )
        loss = F.cross_entropy(output.logits[0].float(), group.labels, reduction="sum")
        return loss, group.labels.numel()
