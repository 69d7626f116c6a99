"""Read without transformers, a tokenizer gives the very ids that a training gets from it."""

import json

import pytest

from core.basemodels.tokenizer import FileTokenizer
from core.errors import JobFailure
from core.training.prompts import PromptTemplate, end_token_ids
from tests.tiny_model import build_tiny_tokenizer

ROW = {
    "question": "多少客户 in Paris? <|im_end|>",
    "input": "a\n\n b",
    "answer": "SELECT COUNT(*) FROM customers WHERE city = '上海' -- 😀",
    "context": '[{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]',
}
STYLES = ["schema", "bare", "classic", "chat", "zero_shot"]


@pytest.fixture
def both(tmp_path):
    theirs = build_tiny_tokenizer()
    theirs.save_pretrained(tmp_path)
    return FileTokenizer(tmp_path), theirs, tmp_path


@pytest.mark.parametrize("style", STYLES)
def test_every_prompt_has_the_same_ids(both, style):
    ours, theirs, _ = both
    template = PromptTemplate(style, "customers(id, name)", "sqlite")
    assert template.encode(ours, ROW) == template.encode(theirs, ROW)
    assert end_token_ids(ours) == end_token_ids(theirs)


@pytest.mark.parametrize("form", ["text", "named"])
def test_a_template_may_stand_in_the_config(both, form):
    _, theirs, folder = both
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = (
        template if form == "text" else [{"name": "default", "template": template}]
    )
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    chat = PromptTemplate("chat")
    assert chat.encode(FileTokenizer(folder), ROW) == chat.encode(theirs, ROW)


def test_without_a_template_turns_are_written_plainly(both):
    _, theirs, folder = both
    (folder / "chat_template.jinja").unlink()
    theirs.chat_template = None
    chat = PromptTemplate("chat")
    assert chat.encode(FileTokenizer(folder), ROW) == chat.encode(theirs, ROW)


@pytest.mark.parametrize(
    "template",
    ["{{ messages.__class__.__mro__ }}", "{{ raise_exception('no system messages') }}"],
    ids=["reaches out of its sandbox", "refuses"],
)
def test_a_template_that_does_not_do_is_a_failure_of_the_data(both, template):
    _, _, folder = both
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(JobFailure, match="chat template"):
        PromptTemplate("chat").render(FileTokenizer(folder), ROW)
