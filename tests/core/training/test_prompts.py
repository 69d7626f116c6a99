import json

import pytest

from core.errors import InvalidInput, JobFailure
from core.training.prompts import PromptTemplate, end_token_id, end_token_ids
from tests.tiny_model import build_tiny_tokenizer

ROW = {"question": "多少客户?", "input": "", "answer": "SELECT 1", "context": "[]"}


@pytest.fixture(scope="module")
def tokenizer():
    return build_tiny_tokenizer()


def test_the_schema_stands_in_front_of_the_question(tokenizer):
    text = PromptTemplate("schema", "t(a, b)", "sqlite").render(tokenizer, ROW)
    assert text == (
        "<|im_start|>system\nAnswer with one SQLite query.\nt(a, b)<|im_end|>\n"
        "<|im_start|>user\n多少客户?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_bare_leaves_the_schema_out(tokenizer):
    text = PromptTemplate("bare", "t(a, b)", "sqlite").render(tokenizer, ROW)
    assert "t(a" not in text and "多少客户?" in text


def test_classic_is_the_course_s_prompt(tokenizer):
    text = PromptTemplate("classic").render(tokenizer, {**ROW, "input": "x"})
    assert text == "### 指令:\n多少客户?\n### 输入:\nx\n### 输出:\n"


def test_chat_keeps_the_conversation(tokenizer):
    context = [{"role": "system", "content": "S"}, {"role": "user", "content": "A"}]
    row = {**ROW, "context": json.dumps(context), "input": "more"}
    text = PromptTemplate("chat", system="unused").render(tokenizer, row)
    assert text.startswith("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nA<|im_end|>\n")
    assert "多少客户?\n\nmore<|im_end|>" in text


@pytest.mark.parametrize("style", ["schema", "bare", "classic", "chat"])
def test_a_completion_ends_with_the_end_of_turn(tokenizer, style):
    encoded = PromptTemplate(style, "t(a)", "sqlite").encode(tokenizer, ROW)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert encoded.completion_ids[-1] == end == end_token_id(tokenizer)
    assert tokenizer.decode(encoded.completion_ids[:-1]) == "SELECT 1"
    assert encoded.prompt_ids and end in end_token_ids(tokenizer)


def test_a_model_without_chat_template_has_a_prompt_too(tokenizer):
    plain = build_tiny_tokenizer()
    plain.chat_template = None
    text = PromptTemplate("bare", dialect="sqlite").render(plain, ROW)
    assert text == "System: Answer with one SQLite query.\nUser: 多少客户?\nAssistant:"


def test_a_template_survives_its_file(tmp_path):
    template = PromptTemplate("schema", "客户(编号)", "sqlite", "Nur SQL.")
    template.save(tmp_path)
    assert PromptTemplate.load(tmp_path) == template
    assert "客户" in (tmp_path / "prompt.json").read_text(encoding="utf-8")


def test_an_untuned_model_is_told_task_and_schema_beside_the_question(tokenizer):
    template = PromptTemplate.for_base("sql", "t(a)", "sqlite")
    text = template.render(tokenizer, ROW)
    asked = text.rpartition("<|im_start|>user")[2]
    assert "t(a)" in asked and ROW["question"] in asked and "SQLite query" in asked


def test_an_untuned_model_is_shown_the_schema():
    assert PromptTemplate.for_base("sql", "t(a)", "sqlite").style == "zero_shot"
    assert PromptTemplate.for_base("sql", None, None).style == "bare"
    assert PromptTemplate.for_base("instruction", None, None).style == "chat"


@pytest.mark.parametrize("style, schema", [("schema", None), ("poem", "t(a)")])
def test_a_prompt_that_can_not_be_is_refused(style, schema):
    with pytest.raises(JobFailure) as refused:
        PromptTemplate(style, schema)
    assert refused.value.klass == "config"


def conversation(*turns):
    return [{"role": role, "content": content} for role, content in turns]


@pytest.mark.parametrize(
    "template",
    [
        PromptTemplate("schema", schema_text="shops(id)", dialect="sqlite"),
        PromptTemplate("bare"),
        PromptTemplate("classic"),
        PromptTemplate("chat", system="Be brief."),
        PromptTemplate("chat"),
    ],
    ids=lambda template: template.style,
)
def test_a_lone_question_in_a_chat_is_asked_as_in_the_training(tokenizer, template):
    turns = conversation(("user", "有多少家店？"))
    trained = template.encode(tokenizer, {"question": "有多少家店？", "answer": ""})
    assert template.encode_turns(tokenizer, turns) == trained.prompt_ids


def test_a_conversation_with_its_own_system_message_keeps_it(tokenizer):
    template = PromptTemplate("bare")
    turns = conversation(("system", "Sing."), ("user", "a"), ("assistant", "b"), ("user", "c"))
    asked = tokenizer.decode(template.encode_turns(tokenizer, turns))
    assert "Sing." in asked
    assert "Answer with one" not in asked
    assert asked.index("Sing.") < asked.index("assistant\nb") < asked.index("user\nc")


def test_roles_that_the_chat_template_refuses_are_the_requests_fault(tokenizer):
    before = tokenizer.chat_template
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    try:
        with pytest.raises(InvalidInput, match="roles must alternate") as refused:
            PromptTemplate("chat").encode_turns(tokenizer, conversation(("user", "a")))
        with pytest.raises(InvalidInput, match="roles must alternate"):
            PromptTemplate("bare").encode(tokenizer, ROW)
    finally:
        tokenizer.chat_template = before
    assert refused.value.param == "messages"
