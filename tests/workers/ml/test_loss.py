import pytest
import torch
import torch.nn.functional as F
from transformers import GemmaConfig, GemmaForCausalLM, LlamaConfig, LlamaForCausalLM

from core.training.sizing import HEAD_ROWS
from workers.ml import attention
from workers.ml.loss import HeadLoss, is_head_plain

TINY = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}


def states(count, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(count, 24, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(300, 24, generator=generator).to(dtype)
    return hidden, weight, torch.randint(300, (count,), generator=generator)


@pytest.mark.parametrize("count", [1, HEAD_ROWS, 2 * HEAD_ROWS + 45])
def test_loss_and_gradient_are_those_of_the_whole_logits(count):
    hidden, weight, labels = states(count)
    wanted = F.cross_entropy(hidden @ weight.t(), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(wanted / 7, hidden)
    loss, hits = HeadLoss.apply(hidden, weight, labels)
    (loss / 7).backward()
    assert hits == ((hidden @ weight.t()).argmax(dim=1) == labels).sum()
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=0)
    torch.testing.assert_close(hidden.grad, gradient, rtol=1e-4, atol=1e-6)


def test_a_label_is_hit_where_it_is_the_most_probable_token():
    _, weight, labels = states(HEAD_ROWS + 3)
    right, wrong = weight[labels] * 100, -weight[labels] * 100
    assert HeadLoss.apply(right, weight, labels)[1] == HEAD_ROWS + 3
    assert HeadLoss.apply(torch.cat([right[:5], wrong[5:]]), weight, labels)[1] == 5


def test_an_answer_that_the_model_holds_impossible_has_a_finite_loss():
    hidden, weight = torch.tensor([[1.0]]), torch.tensor([[0.0], [500.0]])
    assert HeadLoss.apply(hidden, weight, torch.tensor([0]))[0].item() == 500
    assert HeadLoss.apply(hidden, weight, torch.tensor([1]))[0].item() == 0


def test_in_bf16_the_loss_adds_up_in_fp32():
    hidden, weight, labels = states(1000, torch.bfloat16)
    loss, _ = HeadLoss.apply(hidden, weight, labels)
    wanted = F.cross_entropy((hidden @ weight.t()).float(), labels, reduction="sum")
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=0)


def build(kind):
    if kind == "gemma":
        model = GemmaForCausalLM(GemmaConfig(**TINY))
    else:
        model = LlamaForCausalLM(LlamaConfig(**TINY))
    if kind == "scaled":
        forward = model.forward
        model.forward = lambda **given: scaled(forward(**given))
    if kind == "with a bias":
        model.lm_head = torch.nn.Linear(16, 40)
    model.set_attn_implementation(attention.NAME)
    return model.requires_grad_(False)


def scaled(output):
    output.logits = output.logits / 3
    return output


@pytest.mark.parametrize(
    ("kind", "plain"),
    [("llama", True), ("gemma", True), ("scaled", False), ("with a bias", False)],
)
def test_a_head_is_plain_if_nothing_is_done_to_its_logits(kind, plain):
    assert is_head_plain(build(kind).train()) is plain
