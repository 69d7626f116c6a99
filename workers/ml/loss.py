"""A model's head and the cross-entropy behind it as one node, by blocks of positions.

Of the logits, by far the largest tensors of a step, one block exists at a time: the head is frozen,
so the gradient of its input is all that is wanted, and that is made while the block is at hand (as
the fused linear cross-entropy of Liger Kernel does, arXiv 2410.10989).
"""

import torch
from torch import Tensor, nn

from core.training.sizing import HEAD_ROWS
from workers.ml.packing import Example, pack, rounded


class HeadLoss(torch.autograd.Function):
    """Sum of the cross-entropies of `labels` [M] under the logits `hidden` [M, d] `weight` [V, d]',
    added up in fp32; and how many of the labels are the most probable token."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hits = torch.zeros((), dtype=torch.long, device=hidden.device)
        grads = []
        for block, wanted in zip(hidden.split(HEAD_ROWS), labels.split(HEAD_ROWS), strict=True):
            rest = rounded(len(block)) - len(block)  # few lengths: see `rounded`
            logits = nn.functional.pad(block, (0, 0, 0, rest)) @ weight.t()
            padded = nn.functional.pad(wanted, (0, rest)).unsqueeze(1)
            loss, p, top = _cross_entropy(logits, padded)
            total += loss[: len(block)].sum()
            hits += (top == padded)[: len(block)].sum()
            if ctx.needs_input_grad[0]:
                grads.append((p.to(weight.dtype) @ weight)[: len(block)])
        if grads:
            ctx.save_for_backward(torch.cat(grads))
        ctx.mark_non_differentiable(hits)
        return total, hits

    @staticmethod
    def backward(ctx, grad: Tensor, _: Tensor):
        (d_hidden,) = ctx.saved_tensors
        return d_hidden * grad, None, None


def _cross_entropy(logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Losses [R, 1] of logits [R, V]; their gradient: probabilities, less one at the label; and the
    most probable tokens [R, 1]. The sum of exponentials is had from the largest probability, which
    never underflows."""
    top, at = logits.max(dim=1, keepdim=True)
    p = torch.softmax(logits, dim=1, dtype=torch.float32)
    log_sum = top.float() - p.gather(1, at).log()
    loss = log_sum - logits.gather(1, wanted).float()
    return loss, p.scatter_add_(1, wanted, torch.full_like(log_sum, -1)), at


@torch.no_grad()
def is_head_plain(model: nn.Module) -> bool:
    """Whether a causal language model's logits are its head's product with what the decoder gives
    and nothing else: no bias, no cap, no scale. It is tried out on a few tokens."""
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or head.bias is not None or head.weight.requires_grad:
        return False
    group = pack([Example(0, [1, 2], [3])]).to(head.weight.device)
    given = {
        "input_ids": group.input_ids,
        "position_ids": group.position_ids,
        "layout": group.layout,
        "use_cache": False,
    }
    training = model.training
    model.eval()
    logits, states = model(**given).logits, model.get_decoder()(**given).last_hidden_state
    model.train(training)
    return torch.equal(logits, head(states))
