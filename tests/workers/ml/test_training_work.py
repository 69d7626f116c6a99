"""The work of a training step, counted and not timed, against a cost model written out here: a
change that does more of it fails."""

from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from core.training.hyperparameters import LoraSettings
from core.training.sizing import HEAD_ROWS
from tests.tiny_model import build_tiny_model
from workers.ml import lora
from workers.ml.attention import BLOCK, PackedAttention
from workers.ml.loading import load_base
from workers.ml.lower import LowerStates
from workers.ml.module import TrainingModule
from workers.ml.packing import Example, groups_of, rounded

LAYERS, HIDDEN, MLP, HEADS, KEY_HEADS, WIDTH, RANK = 2, 64, 128, 4, 2, 16, 8
QKV = [(HIDDEN, HEADS * WIDTH), (HIDDEN, KEY_HEADS * WIDTH), (HIDDEN, KEY_HEADS * WIDTH)]
LINEARS = [*QKV, (HEADS * WIDTH, HIDDEN), (HIDDEN, MLP), (HIDDEN, MLP), (MLP, HIDDEN)]
BEGIN = 7  # the token that every schema begins with, and that comes nowhere else


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"), layers=LAYERS)


def build(directory, *, quantization="none", layers="all"):
    loaded = load_base(directory, quantization=quantization, precision="fp32")
    model = lora.attach_adapter(loaded.model, LoraSettings(r=RANK, layers=layers), seed=1)
    lora.speed_up(model)
    return TrainingModule(model).train()


def examples(schemas=((40, 8),), *, own=6, labels=10):
    """So many rows below schemas of so many tokens; each row has `own` prompt tokens."""
    return [
        Example(k, [BEGIN, *[10 + number] * (length - 1), *[50 + k] * own], [60] * labels)
        for number, (length, rows) in enumerate(schemas)
        for k in range(rows)
    ]


class Work(TorchDispatchMode):
    """Counts what torch is asked to do: multiplications of matrix products, by kind, conversions
    of int8 weights, and how often the tokens of a schema's beginning are looked up."""

    def __init__(self, vocabulary):
        super().__init__()
        self.vocabulary, self.counts = vocabulary, Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().split("::")[1].split(".")[0].rstrip("_")
        if name == "_scaled_dot_product_flash_attention_for_cpu":
            self.counts["attention"] += 2 * args[0].shape.numel() * args[1].shape[2]
        elif name in ("mm", "bmm", "addmm", "baddbmm"):
            a, b = args[-2:]
            kind = "attention" if name.endswith("bmm") else "trunk"
            if self.vocabulary in (*a.shape, *b.shape):
                kind = "head"
            self.counts[kind] += a.shape.numel() * b.shape[-1]
        elif name == "_to_copy" and args[0].dtype == torch.int8:
            self.counts["dequantised"] += 1
        elif name == "embedding":
            self.counts["schemas"] += int((args[1] == BEGIN).sum())
        return func(*args, **(kwargs or {}))


@dataclass
class Row:
    """The cost model of a packed row: tokens, labels, pairs of queries and keys that are computed:
    of neighbours' own spans in blocks, and of suffixes with their prefix."""

    tokens: int
    labels: int
    pairs: int

    @classmethod
    def of(cls, schemas=((40, 8),), *, own=6, labels=10):
        width = rounded(own + labels)
        tokens = sum(length + rows * width for length, rows in schemas)
        pairs = sum(rows * width * length for length, rows in schemas)
        for length, rows in schemas:
            fit = (BLOCK - length) // width  # suffixes beside their prefix
            blocks = [length + fit * width, *[BLOCK // width * width] * 9]
            rest = length + rows * width
            while rest > 0:
                pairs += min(rest, blocks[0]) ** 2
                rest -= blocks.pop(0)
        return cls(rounded(tokens), labels * sum(rows for _, rows in schemas), pairs)

    @property
    def trunk(self):
        """Forward, and the gradient of the inputs; nothing below the first q, k and v wants one.
        LoRA: two narrow products forward, four backward."""
        weights = sum(a * b for a, b in LINEARS) * LAYERS
        narrow = RANK * sum(a + b for a, b in LINEARS) * LAYERS
        lowest = sum(a * b + RANK * a for a, b in QKV)
        return self.tokens * (2 * weights + 3 * narrow - lowest)

    @property
    def attention(self):
        """Two products forward; backward the first again and four more, of two columns more."""
        return (2 * WIDTH + 5 * (WIDTH + 2)) * self.pairs * HEADS * LAYERS

    def head(self, vocabulary):
        full, rest = divmod(self.labels, HEAD_ROWS)
        return 2 * (full * HEAD_ROWS + rounded(rest)) * HIDDEN * vocabulary


def worked(module, rows, *, micro_batch=16):
    vocabulary = module.model.config.vocab_size
    with Work(vocabulary) as work:
        for group in groups_of(rows, micro_batch=micro_batch):
            module(group)[0].backward()
    return work.counts


def test_a_step_multiplies_no_more_than_the_cost_model_says(directory):
    module, row = build(directory), Row.of()
    counts = worked(module, examples())
    assert counts["trunk"] == row.trunk
    assert counts["attention"] == row.attention
    assert counts["head"] == row.head(module.model.config.vocab_size)
    assert counts["schemas"] == 1


def test_tokens_of_a_schema_are_shared_by_its_rows(directory):
    """16 rows of 16 tokens behind 40: 304 and not 896 through the trunk, 19 a row."""
    seen = []
    module = build(directory)
    layer = module.model.get_base_model().get_decoder().layers[0]
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    worked(module, examples([(40, 16)]))
    assert seen == [rounded(40 + 16 * 16)] == [304]


def test_each_of_several_schemas_is_computed_once_a_step(directory):
    schemas = [(40, 5), (24, 4), (31, 3)]
    row = Row.of(schemas)
    counts = worked(build(directory), examples(schemas))
    assert counts["schemas"] == 3
    assert (counts["trunk"], counts["attention"]) == (row.trunk, row.attention)
    assert worked(build(directory), examples(schemas), micro_batch=4)["schemas"] == 2 + 1 + 1


def test_an_8_bit_weight_is_made_dense_once_forward_and_once_backward(directory):
    module = build(directory, quantization="8bit")
    counts = worked(module, examples())
    assert counts["dequantised"] == 2 * len(LINEARS) * LAYERS - len(QKV)
    again = worked(module, examples(), micro_batch=4)  # per group: nothing dense is kept
    assert again["dequantised"] == 2 * counts["dequantised"]


def test_kept_states_spare_the_layers_below(directory):
    module = build(directory, layers=1)
    rows = examples()
    module.lower = LowerStates(module.model, rows)
    for group in groups_of(rows, micro_batch=16):
        module.lower.fill(group)
    counts = worked(module, rows)
    assert counts["schemas"] == 0
    assert counts["attention"] == Row.of().attention // LAYERS
    assert counts["trunk"] == Row.of().trunk - Row.of().tokens * (
        2 * sum(a * b for a, b in LINEARS) + 3 * RANK * sum(a + b for a, b in LINEARS)
    )


def test_attention_keeps_its_inputs_its_output_and_a_number_a_head():
    (group,) = groups_of(examples(), micro_batch=16)
    tokens, saved = group.input_ids.shape[1], {}
    states = [
        torch.randn(1, tokens, heads, WIDTH).transpose(1, 2).requires_grad_()
        for heads in (HEADS, KEY_HEADS, KEY_HEADS)
    ]
    keep = lambda t: saved.setdefault(t.data_ptr(), t)  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        PackedAttention.apply(*states, group.layout, 0.25)
    size = sum(t.untyped_storage().nbytes() for t in saved.values())
    assert size == tokens * ((2 * HEADS + 2 * KEY_HEADS) * WIDTH + HEADS) * 4


def test_of_the_logits_one_block_at_most_exists(directory):
    """What is kept for the backward pass has no vocabulary in it."""
    module, saved = build(directory), []
    keep = lambda t: saved.append(t.shape) or t  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        for group in groups_of(examples(), micro_batch=16):
            module(group)
    vocabulary = module.model.config.vocab_size
    assert saved and not any(vocabulary in shape for shape in saved)
