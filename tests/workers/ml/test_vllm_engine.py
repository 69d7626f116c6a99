"""What vLLM is told, and what its answers become. vLLM itself runs where it is installed."""

import inspect
import sys
from types import SimpleNamespace

import pytest

from core.errors import JobFailure
from tests.tiny_model import build_tiny_model
from workers.ml.engine import Engine
from workers.ml.generation import GenerationEngine, Request
from workers.ml.sampling import Sampling
from workers.ml.scores import LEAST, Score
from workers.ml.vllm_engine import VllmEngine, completion, parameters

END = 2


def answer(index, text, token_ids, finish_reason, logprobs=None):
    """As vLLM's `CompletionOutput`."""
    return SimpleNamespace(
        index=index, text=text, token_ids=token_ids, finish_reason=finish_reason, logprobs=logprobs
    )


@pytest.mark.parametrize("name", ["generate", "load_adapter", "unload_adapter"])
def test_both_engines_are_used_in_the_same_way(name):
    wanted = inspect.signature(getattr(GenerationEngine, name))
    for engine in (Engine, VllmEngine):
        assert inspect.signature(getattr(engine, name)) == wanted


def test_without_vllm_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(JobFailure, match="extra `vllm`") as failure:
        VllmEngine(build_tiny_model(tmp_path), ends=[END])
    assert failure.value.klass == "config"


def test_a_hostile_model_is_refused_before_vllm_sees_it(tmp_path):
    folder = build_tiny_model(tmp_path)
    (folder / "modeling.py").write_text("")
    with pytest.raises(JobFailure, match="may not bring code"):
        VllmEngine(folder, ends=[END])


def test_sampling_is_told_in_vllms_words():
    greedy = parameters(Sampling(max_new_tokens=9), [END])
    assert greedy["temperature"] == 0 and greedy["seed"] is None and greedy["stop"] is None
    assert greedy["max_tokens"] == 9 and greedy["stop_token_ids"] == [END]
    assert greedy["logprobs"] is None
    assert parameters(Sampling(logprobs=0), [END])["logprobs"] == 0
    drawn = parameters(Sampling(temperature=0.7, top_p=0.9, seed=3, n=4, stop=("#",)), [END])
    assert (drawn["n"], drawn["seed"], drawn["top_p"], drawn["stop"]) == (4, 3, 0.9, ["#"])


def test_an_answer_ends_as_ours_does():
    request = Request("a", [1, 1, 1], Sampling(sql=True, n=2))
    first = completion(request, answer(0, "SELECT 1; and so on", [5, 6, 7], None), 0.5, [END])
    second = completion(request, answer(1, "SELECT 2", [5, END], "stop"), 0.5, [END])
    assert (first.text, first.finish_reason, first.index) == ("SELECT 1;", "stop", 0)
    assert (second.text, second.token_ids, second.completion_tokens) == ("SELECT 2", [5], 2)
    assert second.prompt_tokens == 3 and second.index == 1


def test_its_log_probabilities_are_scores_of_the_tokens_that_were_said():
    """It has the token that was said in each place, though it is not among the best."""

    def place(**chances):
        return {
            int(name[1:]): SimpleNamespace(rank=rank, logprob=logprob)
            for name, (rank, logprob) in chances.items()
        }

    places = [
        place(t5=(7, -4.0), t9=(2, -1.5), t8=(1, -0.5)),
        place(t6=(1, -0.1), t7=(2, float("-inf"))),
        place(t2=(1, 0.0), t3=(2, -9.0)),
    ]
    request = Request("a", [1], Sampling(logprobs=2))
    done = completion(request, answer(0, "ab", [5, 6, END], "stop", places), 0.5, [END])
    assert done.scores == [
        Score(-4.0, [(8, -0.5), (9, -1.5)]),
        Score(-0.1, [(6, -0.1), (7, LEAST)]),
    ]
    alone = Request("a", [1], Sampling(logprobs=0))
    assert completion(alone, answer(0, "a", [5], "length", places[:1]), 0.5, [END]).scores == [
        Score(-4.0, [])
    ]
