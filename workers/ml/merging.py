"""Folds an adapter into its base model, and proves that the result is the same model. fp32 only.

Knows no job. The proof: on sample prompts the merged model's logits are those of the base with
the adapter live, and so are its greedy tokens. Never from 8-bit weights: those are rounded, and
folding into them would round again.
"""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from core.errors import JobFailure
from core.training.prompts import FILE_NAME, PromptTemplate, end_token_ids
from workers.ml.loading import LoadedModel, load_adapter, load_base

Part = TypeVar("Part")

MAX_LOGIT_DIFFERENCE = 1e-3
NEW_TOKENS = 24
# Where the caller gives no prompts of his own: what a template makes of these is asked.
SAMPLE_QUESTIONS = (
    "How many rows are there?",
    "Which customer bought the most in 2024?",
    "一共有多少条记录？",
    "List all names in alphabetical order.",
)


@dataclass(frozen=True)
class Answer:
    """Logits [prompt and new tokens, vocabulary] in fp32 along a greedy continuation."""

    tokens: list[int]
    logits: Tensor


@dataclass(frozen=True)
class Parity:
    """How far a merged model is from the live adapter. `token_agreement` is the share of equal
    greedy tokens; `bf16_*` are those of the rounded copy, where one was asked for."""

    max_logit_difference: float
    mean_logit_difference: float
    token_agreement: float
    equal_tokens: bool
    prompts: int
    positions: int
    bf16_max_logit_difference: float | None = None
    bf16_token_agreement: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def merge(
    base_dir: Path,
    adapter_dir: Path,
    target: Path,
    *,
    precision: str = "fp32",
    prompts: list[str] | None = None,
    device: str = "cpu",
    check: Callable[[], None] = lambda: None,
) -> Parity:
    """Writes the merged model, its tokenizer and prompt into the empty directory `target`.

    `precision` fp32 or bf16 is that of the saved weights; the comparison is in fp32. Raises
    JobFailure (crash) with the figures if the merged model is not the same. `check` is called
    between the parts of the work and may raise to stop it.
    """
    if precision not in ("fp32", "bf16"):
        raise JobFailure("config", f"unknown precision {precision!r} of a merged model: fp32, bf16")
    loaded = load_base(base_dir, quantization="none", precision="fp32", device=device)
    check()
    loaded = load_adapter(loaded, adapter_dir)
    asked = sample_prompts(loaded, adapter_dir, prompts or [])
    live = [answer(loaded, loaded.model, ids) for ids in heeding(check, asked)]
    model = loaded.model.merge_and_unload()
    pairs = list(zip(asked, live, strict=True))
    parity = compare(live, [along(model, ids, one.tokens) for ids, one in heeding(check, pairs)])
    require_same(parity)
    if precision == "bf16":
        model = model.to(torch.bfloat16)
        rounded = [along(model, ids, one.tokens) for ids, one in heeding(check, pairs)]
        parity = with_rounding(parity, compare(live, rounded))
    check()
    save(model, loaded, adapter_dir, target)
    return parity


def heeding(check: Callable[[], None], parts: Sequence[Part]) -> Iterator[Part]:
    """The parts of a work; before each, `check` may stop it."""
    for part in parts:
        check()
        yield part


def sample_prompts(loaded: LoadedModel, adapter_dir: Path, prompts: list[str]) -> list[list[int]]:
    """Token ids of a few prompts as the adapter was trained to see them (or of the texts given,
    as questions)."""
    if (adapter_dir / FILE_NAME).exists():
        template = PromptTemplate.load(adapter_dir)
    else:
        template = PromptTemplate("bare")
    room = loaded.context_length - NEW_TOKENS
    encoded = [
        template.encode(
            loaded.tokenizer,
            {"question": question, "input": "", "context": "[]", "answer": ""},
        ).prompt_ids[-room:]
        for question in prompts or SAMPLE_QUESTIONS
    ]
    return encoded


@torch.inference_mode()
def answer(loaded: LoadedModel, model, prompt: list[int]) -> Answer:
    """The greedy continuation by at most NEW_TOKENS, and the logits along it."""
    ends = end_token_ids(loaded.tokenizer)
    ids = torch.tensor([prompt], device=loaded.device)
    output = model(input_ids=ids, use_cache=True)
    logits, tokens = [output.logits[0].float()], []
    for _ in range(NEW_TOKENS):
        tokens.append(int(logits[-1][-1].argmax()))
        if tokens[-1] in ends:
            break
        ids = torch.tensor([tokens[-1:]], device=loaded.device)
        output = model(input_ids=ids, past_key_values=output.past_key_values, use_cache=True)
        logits.append(output.logits[0].float())
    return Answer(tokens, torch.cat(logits).cpu())


@torch.inference_mode()
def along(model, prompt: list[int], tokens: list[int]) -> Answer:
    """Another model's logits on the same prompt and continuation, and what it would have said
    at each of its places."""
    ids = torch.tensor([[*prompt, *tokens]], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0].float().cpu()
    said = logits[len(prompt) - 1 : len(prompt) - 1 + len(tokens)].argmax(-1).tolist()
    return Answer(said, logits)


def compare(live: list[Answer], merged: list[Answer]) -> Parity:
    """Token agreement is exact for the whole answer: as long as all tokens before were equal, the
    next one is what that model says greedily."""
    largest, total, count, equal, tokens = 0.0, 0.0, 0, 0, 0
    for one, other in zip(live, merged, strict=True):
        places = min(len(one.logits), len(other.logits))
        difference = (one.logits[:places] - other.logits[:places]).abs()
        largest = max(largest, float(difference.max()))
        total += float(difference.sum())
        count += difference.numel()
        equal += sum(a == b for a, b in zip(one.tokens, other.tokens, strict=True))
        tokens += len(one.tokens)
    return Parity(
        max_logit_difference=largest,
        mean_logit_difference=total / count,
        token_agreement=equal / tokens,
        equal_tokens=equal == tokens,
        prompts=len(live),
        positions=sum(len(one.logits) for one in live),
    )


def require_same(parity: Parity) -> None:
    # The mean: a largest one passes over what is no number.
    finite = math.isfinite(parity.mean_logit_difference)
    if finite and parity.max_logit_difference <= MAX_LOGIT_DIFFERENCE and parity.equal_tokens:
        return
    raise JobFailure(
        "crash",
        "the merged model is not the adapter on its base: largest logit difference "
        f"{parity.max_logit_difference:.2e} (allowed {MAX_LOGIT_DIFFERENCE:.0e}), "
        f"{parity.token_agreement:.1%} of the greedy tokens equal (all must be); nothing was saved",
        parity=parity.to_dict(),
    )


def with_rounding(parity: Parity, rounded: Parity) -> Parity:
    return Parity(
        **{
            **parity.to_dict(),
            "bf16_max_logit_difference": rounded.max_logit_difference,
            "bf16_token_agreement": rounded.token_agreement,
        }
    )


def save(model, loaded: LoadedModel, adapter_dir: Path, target: Path) -> None:
    model.save_pretrained(target, safe_serialization=True)
    loaded.tokenizer.save_pretrained(target)
    if (adapter_dir / FILE_NAME).exists():
        shutil.copyfile(adapter_dir / FILE_NAME, target / FILE_NAME)
