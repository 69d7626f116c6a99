"""The engine's interface (`workers.ml.generation`) on vLLM, for CUDA. Knows no layer and no cache.

vLLM batches, keeps prefixes and mixes adapters itself; here its requests are made, and answers end
where ours end. It brings its own torch, so it lives in an environment of its own (extra `vllm`).

Not run where this was written, for want of a GPU and of vLLM beside this project's torch: tested
are what it is told and what its answers become.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from core.basemodels.safety import check_adapter_directory, check_model_directory
from core.errors import InvalidInput, JobFailure
from workers.ml.generation import Completion, Counts, Request, refusal
from workers.ml.sampling import Sampling
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
        self._llm.llm_engine.remove_lora(self._adapters.pop(name).lora_int_id)

    def generate(
        self, requests: Iterable[Request], *, on_step: Callable[[], None] | None = None
    ) -> Iterator[Completion]:
        """Completions as they finish. What is not finished is taken back if the caller stops."""
        asked: dict[str, Request] = {}
        engine = self._llm.llm_engine
        began = time.monotonic()
        try:
            for number, request in enumerate(requests):
                problem = self._problem(request)
                if problem is not None:
                    yield refusal(request, problem)
                    continue
                asked[str(number)] = request
                engine.add_request(
                    str(number),
                    {"prompt_token_ids": request.prompt_ids},
                    self._vllm.SamplingParams(**parameters(request.sampling, self._ends)),
                    lora_request=self._adapters.get(request.adapter),
                )
            while asked:
                for output in engine.step():
                    yield from self._ended(output, asked, time.monotonic() - began)
                self.counts.steps += 1
                if on_step is not None:
                    on_step()
        finally:
            if asked:
                engine.abort_request(list(asked))

    def _problem(self, request: Request) -> str | None:
        count, context = len(request.prompt_ids), self._llm.model_config.max_model_len
        if not count:
            return "the prompt is empty"
        if count >= context:
            return f"the prompt has {count} tokens; the model takes fewer than {context}"
        if request.adapter is not None and request.adapter not in self._adapters:
            return f"no adapter {request.adapter!r} is loaded"
        return None

    def _ended(self, output, asked: dict[str, Request], seconds: float) -> list[Completion]:
        request = asked.get(output.request_id)
        if request is None:
            return []
        if not output.finished:
            if not all(_over(answer, request.sampling) for answer in output.outputs):
                return []
            self._llm.llm_engine.abort_request([output.request_id])
        del asked[output.request_id]
        done = completions(request, output, seconds, self._ends)
        self._count(done, output.num_cached_tokens or 0)
        return done

    def _count(self, done: list[Completion], cached: int) -> None:
        fed = sum(max(0, completion.completion_tokens - 1) for completion in done)
        self.counts.trunk_tokens += done[0].prompt_tokens - cached + fed
        self.counts.head_tokens += sum(completion.completion_tokens for completion in done)


def parameters(sampling: Sampling, ends: list[int]) -> dict[str, Any]:
    """`Sampling` in vLLM's words. The end of a statement is not among them: see `completions`."""
    return {
        "n": sampling.n,
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed if sampling.temperature > 0 else None,
        "stop": list(sampling.stop) or None,
        "stop_token_ids": ends,
    }


def completions(request: Request, output, seconds: float, ends: list[int]) -> list[Completion]:
    """A `RequestOutput` of vLLM in our words: without the token that ended it, and no longer than
    the statement where the request asks so."""
    done = []
    for answer in output.outputs:
        tokens = list(answer.token_ids)
        end = end_of_answer(answer.text, request.sampling)
        reason = "stop" if end is not None else answer.finish_reason or "stop"
        done.append(
            Completion(
                id=request.id,
                token_ids=tokens[:-1] if tokens and tokens[-1] in ends else tokens,
                text=answer.text[:end],
                prompt_tokens=len(request.prompt_ids),
                completion_tokens=len(tokens),
                latency_seconds=seconds,
                finish_reason=reason,
                index=answer.index,
            )
        )
    return done


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
