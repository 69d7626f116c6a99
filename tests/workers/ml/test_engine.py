"""The engine says what transformers says, computes the prefix once, serves rows as they come."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from core.errors import JobFailure
from core.training.hyperparameters import LoraSettings
from tests.tiny_model import build_tiny_model
from tests.workers.ml.warming import warm
from workers.ml import lora
from workers.ml.engine import Engine
from workers.ml.generation import Request
from workers.ml.loading import LoadedModel, load_base
from workers.ml.prefixes import common_prefix
from workers.ml.sampling import Sampling

SCHEMA = "system\ncustomers(id, name, city) orders(id, total) 客户(编号, 姓名)\n" * 3
QUESTIONS = [
    "How many orders?",
    "总销售额是多少？",
    "x",
    "What is the total of all sales for each customer who lives in Paris? " * 2,
    "每个城市有多少客户？",
    "SELECT name, city",
    "user How many customers",
]
NEW = 20


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(tiny_dir):
    return load_base(tiny_dir, precision="fp32")


@pytest.fixture
def prompts(tiny):
    return [tiny.tokenizer(SCHEMA + question).input_ids for question in QUESTIONS]


def requests(prompts, **sampling):
    sampling = {"max_new_tokens": NEW, **sampling}
    return [Request(i, ids, Sampling(**sampling)) for i, ids in enumerate(prompts)]


def tokens_of(engine, prompts, **sampling):
    return {c.id: c.token_ids for c in engine.generate(requests(prompts, **sampling))}


def expected(model, prompts, engine):
    """What transformers' greedy `generate` says to each prompt alone, without the end token."""
    answers = {}
    for index, ids in enumerate(prompts):
        out = model.generate(torch.tensor([ids]), max_new_tokens=NEW, do_sample=False)
        tokens = out[0][len(ids) :].tolist()
        ends = [i for i, token in enumerate(tokens) if token in engine.endings.tokens]
        answers[index] = tokens[: ends[0]] if ends else tokens
    return answers


@pytest.mark.parametrize("max_rows", [None, 1, 3])
def test_greedy_tokens_are_those_of_transformers_with_places_reused(tiny, prompts, max_rows):
    engine = Engine(tiny, max_rows=max_rows)
    assert tokens_of(engine, prompts) == expected(tiny.model, prompts, engine)


def test_in_bf16_almost_all_first_tokens_are_those_of_transformers(tiny_dir, prompts):
    loaded = load_base(tiny_dir, precision="bf16")
    engine = Engine(loaded)
    ours, theirs = tokens_of(engine, prompts), expected(loaded.model, prompts, engine)
    assert sum(ours[i][:1] == theirs[i][:1] for i in theirs) >= len(prompts) - 1


def test_greedy_tokens_with_a_live_adapter_are_those_of_transformers(tiny_dir, prompts):
    loaded = load_base(tiny_dir, precision="fp32")
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    torch.manual_seed(1)
    loaded = loaded.__class__(**{**vars(loaded), "model": get_peft_model(loaded.model, config)})
    engine = Engine(loaded)
    ours = tokens_of(engine, prompts)
    loaded.model.eval()
    assert ours == expected(loaded.model, prompts, engine)
    with loaded.model.disable_adapter():
        assert ours != expected(loaded.model, prompts, engine)


def test_the_shared_prefix_goes_through_the_trunk_once_per_job(tiny, prompts):
    seen = []
    embedding = tiny.model.get_input_embeddings()
    hook = embedding.register_forward_hook(lambda m, args, out: seen.append(args[0].numel()))
    try:
        engine = Engine(tiny, max_rows=3)
        engine.drafting_rows = 0
        done = list(engine.generate(requests(prompts)))
    finally:
        hook.remove()
    prefix = len(common_prefix(prompts))
    suffixes = sum(len(ids) - prefix for ids in prompts)
    decoded = sum(completion.completion_tokens - 1 for completion in done)
    assert prefix >= len(tiny.tokenizer(SCHEMA).input_ids) - 1
    assert sum(seen) == prefix + suffixes + decoded == engine.counts.trunk_tokens
    assert engine.counts.prefix_tokens == prefix
    assert engine.counts.head_tokens == sum(completion.completion_tokens for completion in done)


def test_prompts_without_anything_in_common_are_answered_too(tiny, prompts):
    different = [ids[index:] for index, ids in enumerate(prompts)]
    engine = Engine(tiny)
    assert tokens_of(engine, different) == expected(tiny.model, different, engine)
    assert engine.counts.prefix_tokens == 0


def test_rows_with_different_prefixes_and_with_none_share_a_step(tiny, prompts):
    other = [tiny.tokenizer("airports(code) flights(id) " + q).input_ids for q in QUESTIONS[:3]]
    bare = [tiny.tokenizer(q).input_ids for q in QUESTIONS[:2]]
    mixed = [*prompts[:3], *other, *bare]
    engine = Engine(tiny)
    warm(engine, common_prefix(prompts))
    warm(engine, common_prefix(other))
    for request in requests(mixed):
        engine.submit(request)
    assert {c.id: c.token_ids for c in engine.run()} == expected(tiny.model, mixed, engine)
    assert engine.counts.prefix_tokens == len(common_prefix(prompts)) + len(common_prefix(other))


def test_requests_that_come_while_others_are_decoded_are_served(tiny, prompts):
    engine = Engine(tiny, max_rows=4)
    early, late = requests(prompts)[:3], requests(prompts)[3:]
    done = []
    for request in early:
        engine.submit(request)
    for _ in range(5):
        done += engine.step()
    for request in late:  # one of them is longer than the places that were laid out
        engine.submit(request)
    done += engine.run()
    assert {c.id: c.token_ids for c in done} == expected(tiny.model, prompts, engine)


def looking_back(tiny_dir, window):
    """A model whose attention sees the last `window` positions, as Gemma's and Mistral's."""
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = load_base(tiny_dir, precision="fp32").tokenizer
    torch.manual_seed(2)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        sliding_window=window,
        initializer_range=0.1,
        pad_token_id=0,
    )
    model = MistralForCausalLM(config).eval()
    return LoadedModel(model, tokenizer, torch.float32, "cpu", "none", 0, 0)


# Shorter than a suffix, than the prefix, and longer than both.
@pytest.mark.parametrize("window", [8, 60, 400])
def test_models_that_look_back_over_a_window_are_asked_rightly(tiny_dir, prompts, window):
    loaded = looking_back(tiny_dir, window)
    engine = Engine(loaded, max_rows=3)
    assert tokens_of(engine, prompts) == expected(loaded.model, prompts, engine)


# Pieces that lie within the window, and a window that lies within a piece.
@pytest.mark.parametrize("window", [None, 8, 60])
@pytest.mark.parametrize("most", [1, 20])
def test_prefixes_and_long_prompts_are_computed_in_pieces(tiny_dir, tiny, prompts, window, most):
    loaded = tiny if window is None else looking_back(tiny_dir, window)
    engine = Engine(loaded, max_rows=3)
    engine.prefill.most = most
    assert tokens_of(engine, prompts) == expected(loaded.model, prompts, engine)
    assert engine.counts.steps > engine.counts.prefix_tokens / most


@pytest.mark.parametrize("window", [8, 60, 400])
def test_prefixes_of_one_length_share_a_step(tiny_dir, prompts, window):
    loaded = looking_back(tiny_dir, window)
    engine, others = Engine(loaded), [[ids[0] + 1, *ids[1:]] for ids in prompts]
    for some in (prompts, others):
        warm(engine, common_prefix(some))
    every = [*prompts, *others]
    for request in requests(every):
        engine.submit(request)
    found = {done.id: done.token_ids for done in engine.run()}
    assert found == expected(loaded.model, every, engine)
    assert engine.counts.prefixes == 2


def test_attention_of_a_kind_that_is_not_known_is_refused(tiny_dir, prompts):
    from transformers import Gemma2Config, Gemma2ForCausalLM

    tokenizer = load_base(tiny_dir, precision="fp32").tokenizer
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    model = Gemma2ForCausalLM(config).eval()
    loaded = LoadedModel(model, tokenizer, torch.float32, "cpu", "none", 0, 0)
    with pytest.raises(JobFailure, match="softcap"):
        tokens_of(Engine(loaded), prompts)


def test_completions_carry_their_figures(tiny, prompts):
    for completion in Engine(tiny).generate(requests(prompts)):
        assert completion.prompt_tokens == len(prompts[completion.id])
        assert 1 <= completion.completion_tokens <= NEW
        assert completion.latency_seconds > 0
        assert completion.finish_reason in ("stop", "length")
        assert completion.error is None


def test_a_prompt_that_is_too_long_or_empty_is_its_own_error(tiny, prompts):
    batch = [prompts[0], prompts[1][:1] * 5000, [], prompts[1]]
    done = {c.id: c for c in Engine(tiny).generate(requests(batch))}
    assert "5000 tokens" in done[1].error.message
    assert done[1].finish_reason == "error"
    assert "empty" in done[2].error.message
    assert done[0].error is None and done[3].error is None


def test_an_answer_never_runs_over_the_context(tiny):
    context = tiny.context_length
    ids = (tiny.tokenizer(SCHEMA).input_ids * 100)[: context - 3]
    [completion] = Engine(tiny).generate(requests([ids], max_new_tokens=50))
    assert completion.completion_tokens <= 3


def test_a_stop_string_ends_the_answer_and_is_cut_from_it(tiny, prompts):
    [free] = Engine(tiny).generate(requests(prompts[:1]))
    stop = free.text[4:7]
    [stopped] = Engine(tiny).generate(requests(prompts[:1], stop=(stop,)))
    assert stopped.finish_reason == "stop"
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.completion_tokens < free.completion_tokens


def test_draws_depend_on_the_seed_and_not_on_the_neighbours(tiny, prompts):
    alone = tokens_of(Engine(tiny, max_rows=1), prompts, temperature=0.9, top_p=0.95, seed=7)
    together = tokens_of(Engine(tiny), prompts, temperature=0.9, top_p=0.95, seed=7)
    other = tokens_of(Engine(tiny), prompts, temperature=0.9, top_p=0.95, seed=8)
    assert alone == together
    assert alone != other


def test_a_training_gets_its_model_back_as_it_was(tiny_dir, prompts):
    loaded = load_base(tiny_dir, precision="fp32")
    model = lora.attach_adapter(loaded.model, LoraSettings(r=4, alpha=8), seed=0)
    lora.speed_up(model)
    model.train()
    forwards = {name: m.__dict__.get("forward") for name, m in model.named_modules()}
    attention = model.config._attn_implementation
    loaded = loaded.__class__(**{**vars(loaded), "model": model})
    assert len(tokens_of(Engine(loaded), prompts)) == len(prompts)
    assert all(module.training for module in model.modules())
    assert {name: m.__dict__.get("forward") for name, m in model.named_modules()} == forwards
    assert model.config._attn_implementation == attention
    loss = model(torch.tensor(prompts[:1]), labels=torch.tensor(prompts[:1])).loss
    loss.backward()
    assert any(p.grad is not None for p in model.parameters())


def test_a_caller_can_stop_between_steps(tiny, prompts):
    class Enough(Exception):
        pass

    def stop():
        raise Enough

    engine = Engine(tiny)
    with pytest.raises(Enough):
        list(engine.generate(requests(prompts), on_step=stop))
    # Engine and model are usable afterwards, and nothing is left of the first batch.
    few = prompts[:2]
    assert tokens_of(engine, few) == expected(tiny.model, few, engine)


def test_common_prefix_leaves_every_prompt_a_token():
    assert common_prefix([[1, 2, 3], [1, 2, 4]]) == [1, 2]
    assert common_prefix([[1, 2], [1, 2, 3]]) == [1]
    assert common_prefix([[1, 2, 3]]) == [1, 2]
    assert common_prefix([[1], [2]]) == []
    assert common_prefix([]) == []
