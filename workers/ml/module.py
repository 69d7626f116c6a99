"""The one training module: a packed group in, (sum of token losses, labels that were hit) out.

An ordinary `nn.Module`, so gradient checkpointing, accumulation and data parallelism work as for
any module. It never uses `past_key_values`: a layer under gradient checkpointing drops them.
"""

from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional

from workers.ml import attention
from workers.ml.loss import HeadLoss, is_head_plain
from workers.ml.lower import LowerStates
from workers.ml.packing import Group


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

    def _loss(self, group: Group, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        inputs |= {
            "position_ids": group.position_ids,
            "layout": group.layout,
            "use_cache": False,
        }
        if not self.head_is_plain:
            logits = self.model(**inputs, logits_to_keep=group.label_positions).logits[0]
            loss = functional.cross_entropy(logits.float(), group.labels, reduction="sum")
            return loss, (logits.argmax(dim=1) == group.labels).sum()
        model = self._causal_model()
        states = model.get_decoder()(**inputs).last_hidden_state[0]
        weight = model.get_output_embeddings().weight
        return HeadLoss.apply(states[group.label_positions], weight, group.labels)

    def _causal_model(self) -> nn.Module:
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
