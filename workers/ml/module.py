"""The one training module: a packed group in, (sum of token losses, token count) out.

An ordinary `nn.Module`, so gradient checkpointing, accumulation and data parallelism work as for
any module. It never uses `past_key_values`: a layer under gradient checkpointing drops them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.ml import attention
from workers.ml.lower import LowerStates
from workers.ml.packing import Group, rounded

ROWS = 32  # of logits at once: a few MB, so that they stay in the cache


class TrainingModule(nn.Module):
    """Wraps a causal language model (with or without a PEFT adapter), whose attention it switches
    to the packed one. Where `lower` holds a group's states, the layers below are not run again."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        model.set_attn_implementation(attention.NAME)
        self.model = model
        self.lower: LowerStates | None = None
        self.checkpointed = False

    def checkpoint_activations(self) -> None:
        """From here on one state a layer is kept for the backward pass; the rest is computed again
        there, with the same result."""
        self.model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
        self.checkpointed = True

    def forward(self, group: Group) -> tuple[Tensor, int]:
        """Sum (not mean) of the labels' cross-entropies, so that groups add up to a batch that is
        normalised by its tokens. The head runs on label positions alone."""
        if self.lower is None or not self.lower.covers(group):
            return self._loss(group, input_ids=group.input_ids)
        with self.lower.upper_layers():
            return self._loss(group, inputs_embeds=self.lower.row(group))

    def _loss(self, group: Group, **inputs: Tensor) -> tuple[Tensor, int]:
        count = group.labels.numel()
        output = self.model(
            **inputs,
            position_ids=group.position_ids,
            logits_to_keep=functional.pad(group.label_positions, (0, rounded(count) - count)),
            layout=group.layout,
            use_cache=False,
        )
        return TokenLoss.apply(output.logits[0], group.labels), count


class TokenLoss(torch.autograd.Function):
    """Sum of cross-entropies of labels [M] and the first M rows of the logits [., V]: computed in
    fp32 by blocks of rows, so that the fp32 copy of the logits, the largest tensor of a step, never
    exists at once. The gradient is written over the logits, which nobody else reads."""

    @staticmethod
    def forward(ctx, logits, labels):
        ctx.needs = ctx.needs_input_grad[0]
        total = torch.zeros((), dtype=torch.float32, device=logits.device)
        count = labels.numel()
        for block, wanted in zip(logits[:count].split(ROWS), labels.split(ROWS), strict=True):
            log_p = torch.log_softmax(block, dim=-1, dtype=torch.float32)
            index = wanted.unsqueeze(1)
            total -= log_p.gather(1, index).sum()
            if ctx.needs:
                p = log_p.exp_()
                p.scatter_add_(1, index, torch.full_like(index, -1, dtype=p.dtype))
                block.copy_(p)
        if ctx.needs:
            logits[count:] = 0
        ctx.save_for_backward(logits)
        return total

    @staticmethod
    def backward(ctx, grad):
        (d_logits,) = ctx.saved_tensors
        return d_logits.mul_(grad), None
