"""An answer ends with its stop string however the tokenizer cuts that into tokens."""

import pytest
import torch
from transformers import GenerationConfig

from tests.tiny_model import build_tiny_model
from tests.workers.ml.test_spelling import piece_tokenizer
from workers.ml.drafts import Heard
from workers.ml.endings import Endings
from workers.ml.engine import Engine
from workers.ml.generation import Request
from workers.ml.loading import load_base
from workers.ml.rows import make_row
from workers.ml.sampling import Sampling
from workers.ml.voice import Voice

PROMPT = "How many orders?"
ANSWER = "There are 12 客户 in Paris. 问：谁？ 答：x 🙂 of all"
STOPS = ["？", "答", "🙂", "谁？ ", "户 in P", "：x"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_base(build_tiny_model(tmp_path_factory.mktemp("tiny")), precision="fp32")


class Scripted(Engine):
    """Says `script` behind a prompt of so many tokens, whatever the model says."""

    script: list[int] = []
    prompt = 0

    def _forward(self, batch):
        logits = super()._forward(batch)
        said = torch.zeros_like(logits)
        for place, head in enumerate(batch.heads):
            at = batch.positions[head] + 1 - self.prompt
            said[place, self.script[min(at, len(self.script) - 1)]] = 1.0
        return said


def answered(tiny, stop, *, drafts):
    """The completion and what was said of it while it was written, with drafts that hold or
    without any."""
    prompt_ids = tiny.tokenizer(PROMPT).input_ids
    engine = Scripted(tiny)
    engine.script, engine.prompt = tiny.tokenizer(ANSWER).input_ids, len(prompt_ids)
    engine.drafting_rows = 1 if drafts else 0
    heard = Heard()
    heard.add((*prompt_ids, *engine.script))
    sampling = Sampling(max_new_tokens=len(engine.script), stop=(stop,))
    engine.submit(Request(0, prompt_ids, sampling, heard=heard))
    voice, said, done = Voice(tiny.tokenizer, stop=(stop,)), "", []
    while engine.busy:
        done += engine.step()
        said += "".join(voice.go_on(one.token_ids) for one in engine.unfinished())
    assert (engine.counts.accepted_tokens > 0) == drafts
    return done[0], said + voice.end(done[0].text)


@pytest.mark.parametrize("drafts", [False, True], ids=["plain", "drafted"])
@pytest.mark.parametrize("stop", STOPS)
def test_a_stop_string_ends_the_answer_though_no_token_is_its_last_character(tiny, stop, drafts):
    done, said = answered(tiny, stop, drafts=drafts)
    assert (done.text, done.finish_reason) == (ANSWER[: ANSWER.index(stop)], "stop")
    assert said == done.text


@pytest.mark.parametrize("named", [0, [0, 300]], ids=["one", "several"])
def test_an_end_that_the_model_names_ends_the_answer_and_an_ordinary_word_does_not(tiny, named):
    """A config without one says 2, whatever that is."""
    ends = Endings(tiny.tokenizer, GenerationConfig(eos_token_id=named)).tokens
    assert ends == Endings(tiny.tokenizer).tokens | {0}
    assert not tiny.tokenizer.added_tokens_decoder.get(300)


def test_a_stop_string_that_ends_in_a_blank_ends_the_answer_of_pieces():
    """Alone, a piece that begins a word is decoded without its blank."""
    tokenizer = piece_tokenizer()
    ids = tokenizer("SE a a", add_special_tokens=False).input_ids
    row = make_row(Request(0, [5], Sampling(stop=("a ",))), None, 99)
    endings = Endings(tokenizer)
    for token in ids[:-1]:
        row.tokens.append(token)
        assert endings.of(row) is None
    row.tokens.append(ids[-1])
    done = endings.of(row)
    assert done is not None and (done.text, done.finish_reason) == ("SE ", "stop")
