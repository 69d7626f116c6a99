"""Figures of a dataset: languages, SQL, and lengths in tokens where a tokenizer is there."""

from core.datasets.examples import Example
from core.datasets.statistics import Statistics
from core.datasets.tokens import TokenCounter
from tests.tiny_model import build_tiny_tokenizer


def kept(question: str, answer: str, split: str = "train", sql=None, **more):
    return Example(1, question, "", answer, **more), sql, split


def test_languages_and_splits_are_counted():
    statistics = Statistics(TokenCounter(None))
    statistics.add([kept("多少 customers?", "a"), kept("how many?", "b")])
    statistics.add([kept("いくつ", "c", "test")])
    told = statistics.to_dict(executed=None)
    assert told["examples"] == 3
    assert told["splits"] == {"train": 2, "test": 1}
    assert told["languages"] == {"train": {"cjk": 1, "other": 1}, "test": {"cjk": 1, "other": 0}}
    assert told["sql"] is None


def test_distinct_sql_patterns_and_hardness_are_counted():
    statistics = Statistics(TokenCounter(None))
    for question, sql in (("a", ("s1", "p", "easy")), ("b", ("s1", "p", "easy"))):
        statistics.add([kept(question, "x", sql=sql)])
    statistics.add([kept("c", "y", sql=("s2", "p", "hard"))])
    expected = {"distinct": 2, "patterns": 1, "hardness": {"easy": 2, "hard": 1}, "executed": 2}
    assert statistics.to_dict(executed=2)["sql"] == expected


def test_lengths_are_characters_without_a_tokenizer():
    statistics = Statistics(TokenCounter(None), schema_text="t(a, b)")
    statistics.add([kept("q" * n, "a" * 10) for n in range(1, 101)])
    lengths = statistics.to_dict(executed=None)["lengths"]
    assert lengths["unit"] == "characters"
    assert lengths["question"] == {"min": 1, "median": 50, "p95": 96, "max": 100}
    assert lengths["prompt"]["max"] == 100 + 10 + 7
    assert "over_2048" not in lengths
    assert statistics.max_tokens is None


def test_lengths_are_the_tokenizers_where_one_is_there(tmp_path):
    tokenizer = build_tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    statistics = Statistics(TokenCounter(tmp_path), schema_text="customers(id, name)")
    texts = ("多少客户?", "SELECT COUNT(*) FROM customers", "customers(id, name)")
    question, answer, schema = (len(tokenizer(text).input_ids) for text in texts)
    statistics.add([kept(texts[0], texts[1]), kept("x " * 3000, "y")])
    lengths = statistics.to_dict(executed=None)["lengths"]
    assert lengths["unit"] == "tokens"
    assert lengths["question"]["min"] == question
    assert lengths["answer"]["max"] == answer
    assert lengths["example"]["min"] == question + answer
    assert lengths["prompt"]["min"] == question + answer + schema
    assert lengths["over_2048"] == 1
    assert statistics.max_tokens == lengths["prompt"]["max"] > 3000


def test_model_directory_without_a_tokenizer_means_characters(tmp_path):
    assert TokenCounter(tmp_path).unit == "characters"
    assert TokenCounter(tmp_path).count(["好"]) == [1]


def test_empty_dataset_has_no_lengths():
    told = Statistics(TokenCounter(None)).to_dict(executed=None)
    assert told["lengths"] == {"unit": "characters"}
