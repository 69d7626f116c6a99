"""The one training module: a packed group in, (sum of token losses, labels that were hit) out.

An ordinary `nn.Module`, so gradient checkpointing, accumulation and data parallelism work as for
any module. It never uses `past_key_values`: a layer under gradient checkpointing drops them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional

from core.errors import JobFailure
from workers.ml import attention
from workers.ml.loss import HeadLoss, is_head_plain
from workers.ml.lower import LowerStates
from workers.ml.packing import Example, Group, pack
from workers.ml.quantization import evaluation

# Of the trial of `require_apart`: tokens of an example, few enough that none is padded, and how
# much of the largest state may be rounding.
LENGTH, TOLERANCE = 16, 0.01


class TrainingModule(nn.Module):
    """Wraps a causal language model (with or without a PEFT adapter), whose attention it switches
    to the packed one. Where `lower` holds a group's states, the layers below are not run again."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        model.set_attn_implementation(attention.NAME)
        self.model = model
        self.head_is_plain = is_head_plain(self._causal_model())
        self.lower: LowerStates | None = None
        self.checkpointed = False

    def checkpoint_activations(self) -> None:
        """From here on one state a layer is kept for the backward pass; the rest is computed again
        there, with the same result."""
        self._causal_model().activation_checkpointing_enable({"use_reentrant": False})
        self.checkpointed = True

    def forward(self, group: Group) -> tuple[Tensor, Tensor]:
        """Sum (not mean) of the labels' cross-entropies, so that groups add up to a batch that is
        normalised by its tokens; and the number of labels that are the most probable token. The
        head runs on label positions alone."""
        if self.lower is None or not self.lower.covers(group):
            return self._loss(group, input_ids=group.input_ids)
        with self.lower.upper_layers():
            return self._loss(group, inputs_embeds=self.lower.row(group))

    @torch.no_grad()
    def require_apart(self, device: str) -> None:
        """Tries two examples in one row, the first with other tokens too. JobFailure (config) where
        what is computed for the second follows: layers that are no attention (convolutions, a
        state that goes on) read a row as one text, and it would learn from its neighbours."""
        with evaluation(self.model), _rows_by_themselves(self.model):
            one, other = (self._second_of_two(first, device) for first in (0, LENGTH))
        if (one - other).abs().max() > TOLERANCE * one.abs().max():
            kind = self._causal_model().config.model_type
            raise JobFailure(
                "config",
                f"in models of the kind {kind!r} examples of one row are not apart; a model whose "
                "layers are all attention (Llama, Qwen2, Mistral, Gemma …) can be trained",
            )

    def _second_of_two(self, first: int, device: str) -> Tensor:
        """States of an example behind one whose tokens begin with number `first`."""
        starts = (first, 2 * LENGTH)
        ids = [[*range(start, start + LENGTH)] for start in starts]
        pair = [Example(i, own[:1], own[1:]) for i, own in enumerate(ids)]
        group = pack(pair, share_prefix=False).to(device)
        states = self._causal_model().get_decoder()(**self._shape(group), input_ids=group.input_ids)
        return states.last_hidden_state[0, LENGTH : 2 * LENGTH].float()

    def _loss(self, group: Group, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        inputs |= self._shape(group)
        if not self.head_is_plain:
            logits = self.model(**inputs, logits_to_keep=group.label_positions).logits[0]
            loss = functional.cross_entropy(logits.float(), group.labels, reduction="sum")
            return loss, (logits.argmax(dim=1) == group.labels).sum()
        model = self._causal_model()
        states = model.get_decoder()(**inputs).last_hidden_state[0]
        weight = model.get_output_embeddings().weight
        return HeadLoss.apply(states[group.label_positions], weight, group.labels)

    def _shape(self, group: Group) -> dict[str, Any]:
        """What a model is told of a row beside its tokens."""
        return {"position_ids": group.position_ids, "layout": group.layout, "use_cache": False}

    def _causal_model(self) -> nn.Module:
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model


@contextmanager
def _rows_by_themselves(model: nn.Module) -> Iterator[None]:
    """bitsandbytes keeps those columns of an 8-bit product in 16 bit that are large in any of a
    batch's rows, so that each row is rounded by what the others hold; here it keeps none."""
    states = [one.state for one in model.modules() if hasattr(one, "state")]
    states = [state for state in states if hasattr(state, "threshold")]
    thresholds = [state.threshold for state in states]
    for state in states:
        state.threshold = 0.0
    try:
        yield
    finally:
        for state, threshold in zip(states, thresholds, strict=True):
            state.threshold = threshold
