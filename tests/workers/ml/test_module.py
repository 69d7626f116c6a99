import copy

import pytest
import torch
import torch.nn.functional as F

from tests.tiny_model import build_tiny_model
from workers.ml import attention, lora
from workers.ml.hyperparameters import LoraSettings
from workers.ml.loading import load_base
from workers.ml.lower import LowerStates, first_adapted_layer
from workers.ml.module import TrainingModule
from workers.ml.packing import Example, groups_of
from workers.ml.prompts import PromptTemplate

SCHEMA = "customers(id, name)\norders(id, total)"
ROWS = [
    ("How many orders?", "SELECT COUNT(*) FROM orders"),
    ("总共有多少客户?", "SELECT COUNT(*) FROM customers"),
    ("Total", "SELECT SUM(total) FROM orders WHERE id = 3"),
    ("Total of all", "SELECT SUM(total) FROM orders"),
    ("Total of all", "SELECT 1"),
]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def base(directory):
    return load_base(directory, precision="fp32")


@pytest.fixture(scope="module")
def examples(base):
    template = PromptTemplate("schema", SCHEMA, "sqlite")
    encoded = [
        template.encode(base.tokenizer, {"question": question, "answer": answer})
        for question, answer in ROWS
    ]
    return [Example(i, e.prompt_ids, e.completion_ids) for i, e in enumerate(encoded)]


def adapted(base, settings=LoraSettings()):  # noqa: B008 (frozen)
    """A copy with an adapter that does something: B is not zero."""
    model = lora.attach_adapter(copy.deepcopy(base.model), settings, seed=1)
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    return model.train()


def plain_loss(model, examples):
    """By the book: one example at a time, the model's own attention, all logits."""
    total = 0
    for example in examples:
        ids = torch.tensor([example.prompt_ids + example.completion_ids])
        labels = ids[0].clone()
        labels[: len(example.prompt_ids)] = -100
        logits = model(input_ids=ids, use_cache=False).logits[0].float()
        total += F.cross_entropy(logits[:-1], labels[1:], reduction="sum", ignore_index=-100)
    return total


def gradients(model):
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


def expect_equal(found, wanted, tolerance=TOLERANCE):
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert gradient.norm() > 0, name
        assert (found[name] - gradient).norm() <= tolerance * gradient.norm(), name


@pytest.fixture(scope="module")
def by_the_book(base, examples):
    model = adapted(base)
    loss = plain_loss(model, examples)
    loss.backward()
    return loss.item(), gradients(model)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("micro_batch", [5, 2], ids=["one group", "accumulated"])
@pytest.mark.parametrize("share_prefix", [True, False], ids=["shared prefix", "plain packed"])
def test_loss_and_every_gradient_equal_the_unpacked_ones(
    base, examples, by_the_book, checkpointing, micro_batch, share_prefix
):
    model = adapted(base)
    lora.speed_up(model)
    module = TrainingModule(model).train()
    if checkpointing:
        module.checkpoint_activations()
    total = labels = 0
    for group in groups_of(examples, micro_batch=micro_batch, share_prefix=share_prefix):
        assert (group.layout.prefix > 30) == share_prefix
        loss, count = module(group)
        loss.backward()
        total, labels = total + loss.item(), labels + count

    assert labels == sum(len(e.completion_ids) for e in examples)
    assert total == pytest.approx(by_the_book[0], rel=TOLERANCE)
    expect_equal(gradients(model), by_the_book[1])


def test_a_packed_row_does_not_leak_from_one_example_to_the_next(base, examples):
    module = TrainingModule(adapted(base)).eval()
    with torch.no_grad():
        alone = sum(module(g)[0].item() for g in groups_of(examples, micro_batch=1))
        (group,) = groups_of(examples, micro_batch=5)
        assert module(group)[0].item() == pytest.approx(alone, rel=1e-5)


def test_peft_s_own_layers_give_the_same_gradients(base, examples, by_the_book):
    model = adapted(base)
    module = TrainingModule(model).train()
    (group,) = groups_of(examples, micro_batch=5)
    module(group)[0].backward()
    expect_equal(gradients(model), by_the_book[1])


def test_the_adapter_may_sit_in_the_last_layers_only(base, examples):
    settings = LoraSettings(layers=1)
    book, packed = adapted(base, settings), adapted(base, settings)
    plain_loss(book, examples).backward()
    lora.speed_up(packed)
    (group,) = groups_of(examples, micro_batch=5)
    TrainingModule(packed).train()(group)[0].backward()
    assert all(".layers.1." in name for name in gradients(book))
    expect_equal(gradients(packed), gradients(book))


@pytest.mark.parametrize("share", [True, False], ids=["shared prefix", "plain packed"])
def test_states_of_the_layers_below_are_computed_once_and_change_nothing(base, examples, share):
    settings = LoraSettings(layers=1)
    book, packed = adapted(base, settings), adapted(base, settings)
    plain_loss(book, examples).backward()
    lora.speed_up(packed)
    module = TrainingModule(packed).train()
    assert first_adapted_layer(packed) == 1
    lower = LowerStates(packed, examples, share_prefix=share)
    for group in groups_of(examples, micro_batch=2, share_prefix=share):
        lower.fill(group)
    module.lower = lower
    runs = []
    first_layer = packed.get_base_model().get_decoder().layers[0]
    first_layer.register_forward_hook(lambda *_: runs.append(1))
    other = groups_of(examples[::-1], micro_batch=3, share_prefix=share)  # not those filled in
    for group in other:
        module(group)[0].backward()
    assert runs == []
    expect_equal(gradients(packed), gradients(book))


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_gradients_on_a_quantised_base_are_those_of_plain_peft(directory, examples, quantization):
    loaded = load_base(directory, quantization=quantization, precision="fp32")
    assert loaded.quantized_layers == 14
    book, packed = adapted(loaded), adapted(loaded)
    plain_loss(book, examples).backward()
    assert lora.speed_up(packed) == 14
    module = TrainingModule(packed).train()
    for group in groups_of(examples, micro_batch=3):
        module(group)[0].backward()
    expect_equal(gradients(packed), gradients(book))


def test_dropout_keeps_peft_s_layers(base):
    assert lora.speed_up(adapted(base, LoraSettings(dropout=0.05))) == 0


def test_attention_is_the_same_by_torch_s_kernels_and_by_plain_products(base, examples):
    (group,) = groups_of(examples, micro_batch=5)
    generator = torch.Generator().manual_seed(0)
    tokens = group.input_ids.shape[1]
    states = [torch.randn(1, heads, tokens, 16, generator=generator) for heads in (4, 2, 2)]
    weight = torch.randn(1, 4, tokens, 16, generator=generator)
    results = []
    for attend in (attention.PackedAttention.apply, attention.fused_attention):
        inputs = [t.clone().requires_grad_() for t in states]
        out = attend(*inputs, group.layout, 0.25)
        (out * weight).sum().backward()
        results.append([out.detach(), *(t.grad for t in inputs)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_window_shorter_than_the_examples_is_refused(base, examples):
    (group,) = groups_of(examples, micro_batch=5)
    states = torch.zeros(1, 2, group.input_ids.shape[1], 16)
    with pytest.raises(ValueError, match="window of 8"):
        attention.packed_attention(
            None, states, states, states, None, layout=group.layout, sliding_window=8
        )
