import copy
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModelForCausalLM

from core.errors import JobFailure
from core.training.hyperparameters import LoraSettings
from core.training.prompts import PromptTemplate
from tests.tiny_model import build_tiny_model
from workers.ml import lora
from workers.ml.loading import load_base
from workers.ml.lower import LowerStates, first_adapted_layer, kept_bytes
from workers.ml.module import LENGTH, TrainingModule
from workers.ml.packing import Example, groups_of

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
        assert (group.layout.trees[0].prefix > 30) == share_prefix
        loss, _ = module(group)
        loss.backward()
        total, labels = total + loss.item(), labels + group.labels.numel()

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


def test_a_head_that_is_not_plain_gives_the_same_gradients(base, examples, by_the_book):
    model = adapted(base)
    module = TrainingModule(model).train()
    assert module.head_is_plain
    module.head_is_plain = False
    (group,) = groups_of(examples, micro_batch=5)
    loss, _ = module(group)
    loss.backward()
    assert loss.item() == pytest.approx(by_the_book[0], rel=TOLERANCE)
    expect_equal(gradients(model), by_the_book[1])


@pytest.mark.parametrize("kind", ["qwen2", "gemma", "mistral"])
def test_other_models_have_the_gradients_of_plain_peft(kind, examples):
    """Qwen2 has biases at q, k and v; Gemma scales its embeddings and its norms by 1 + w."""
    book, packed = (adapted(LoadedLike(other_model(kind))) for _ in range(2))
    wanted = plain_loss(book, examples)
    wanted.backward()
    assert lora.speed_up(packed) == 14
    module = TrainingModule(packed).train()
    (group,) = groups_of(examples, micro_batch=5)
    loss, _ = module(group)
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=TOLERANCE)
    expect_equal(gradients(packed), gradients(book))


def other_model(kind):
    config = AutoConfig.for_model(
        kind,
        vocab_size=400,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        initializer_range=0.1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@dataclass
class LoadedLike:
    model: torch.nn.Module


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


@pytest.mark.parametrize("micro_batch", [9, 4], ids=["one row", "accumulated"])
@pytest.mark.parametrize("layers", ["all", 1], ids=["all layers", "lower states kept"])
def test_several_schemas_and_examples_that_share_nothing_in_one_step(base, layers, micro_batch):
    examples = several_schemas(base.tokenizer)
    settings = LoraSettings(layers=layers)
    book, packed = adapted(base, settings), adapted(base, settings)
    wanted = plain_loss(book, examples)
    wanted.backward()
    lora.speed_up(packed)
    module = TrainingModule(packed).train()
    groups = groups_of(examples, micro_batch=micro_batch)
    assert max(len(group.layout.trees) for group in groups) == (5 if micro_batch == 9 else 2)
    if layers == 1:
        module.lower = LowerStates(packed, examples)
        for group in groups_of(examples, micro_batch=3):
            module.lower.fill(group)
        assert module.lower.kept_bytes == kept_bytes(packed, examples, share_prefix=True)
    total = 0
    for group in groups:
        loss, _ = module(group)
        loss.backward()
        total += loss.item()
    assert total == pytest.approx(wanted.item(), rel=TOLERANCE)
    expect_equal(gradients(packed), gradients(book))


def several_schemas(tokenizer):
    """Seven rows below three schemas of different lengths, and two that begin otherwise."""
    schemas = [SCHEMA, "towns(name, people, river, lake)\n" + SCHEMA, "cars(id)"]
    rows = [(schemas[k % 3], *ROWS[k % 5]) for k in range(7)]
    encoded = [
        PromptTemplate("schema", schema, "sqlite").encode(
            tokenizer, {"question": question, "answer": answer}
        )
        for schema, question, answer in rows
    ]
    alone = [Example(k, [40 + k, *range(50, 60 + 9 * k)], [70, 71, 72]) for k in (7, 8)]
    return [Example(k, e.prompt_ids, e.completion_ids) for k, e in enumerate(encoded)] + alone


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


@pytest.mark.parametrize(
    ("kind", "settings", "apart"),
    [
        ("llama", {}, True),
        ("gemma3_text", {"head_dim": 16, "sliding_window": 64}, True),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, False),
        ("mamba", {}, False),
    ],
)
def test_a_model_whose_layers_read_a_row_as_one_text_is_refused(kind, settings, apart):
    module = TrainingModule(random_model(kind, **settings))
    if apart:
        return module.require_apart("cpu")
    with pytest.raises(JobFailure, match=f"'{kind}' examples of one row are not apart") as refused:
        module.require_apart("cpu")
    assert refused.value.klass == "config"


def test_8_bit_layers_that_round_a_row_by_its_neighbours_are_no_reason_to_refuse(directory):
    """As those below the first adapted layer do on a CPU, where a column is large."""
    loaded = load_base(directory, quantization="8bit", precision="fp32")
    loaded.model.get_input_embeddings().weight.data[:LENGTH, 3] = 1000.0
    module = TrainingModule(adapted(loaded, LoraSettings(layers=1))).eval()
    states = [module._second_of_two(first, "cpu") for first in (0, LENGTH)]
    assert (states[0] - states[1]).abs().max() > 0
    module.require_apart("cpu")
    states = [module._second_of_two(first, "cpu") for first in (0, LENGTH)]
    assert (states[0] - states[1]).abs().max() > 0, "as it was"


@pytest.mark.parametrize(
    ("kind", "what"), [("gpt_oss", "s_aux"), ("gemma2", "softcap")], ids=["sinks", "capped scores"]
)
def test_attention_that_can_not_be_packed_is_refused_and_named(kind, what):
    module = TrainingModule(random_model(kind, head_dim=16))
    with pytest.raises(JobFailure, match=f"the model's attention uses {what}"):
        module.require_apart("cpu")


def random_model(kind, **settings):
    """Of that architecture, in small, with weights that are large enough to be seen."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 400}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}
    config = AutoConfig.for_model(kind, **sizes, **heads, **settings)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


def test_dropout_keeps_peft_s_layers(base):
    assert lora.speed_up(adapted(base, LoraSettings(dropout=0.05))) == 0
