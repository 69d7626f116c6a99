"""Pairs: deterministic, kept apart by split, and in a short variant for a quick training."""

import json
from collections import Counter, defaultdict

import pytest

from cli.demo.masking import mask_sql
from cli.demo.pairs import STARTERS, build_pairs, write_pairs
from cli.demo.patterns import PATTERNS


def test_the_same_seed_gives_the_same_pairs(sales_database, sales_pairs):
    assert build_pairs(sales_database) == sales_pairs


def test_another_seed_deals_other_pairs(sales_database, sales_pairs):
    assert build_pairs(sales_database, seed=8) != sales_pairs


def test_each_pattern_is_taught_equally_in_both_languages(sales_pairs):
    taught = Counter((p.pattern, p.language) for p in sales_pairs if p.split == "train")
    assert set(taught.values()) == {7}
    assert len(taught) == 2 * sum(not pattern.held_out for pattern in PATTERNS)


def test_a_held_out_pattern_is_in_its_split_alone(sales_pairs):
    held_out = {pattern.name for pattern in PATTERNS if pattern.held_out}
    for pair in sales_pairs:
        assert (pair.split == "unseen_patterns") == (pair.pattern in held_out)


def test_a_name_of_a_pattern_stands_for_one_skeleton(sales_pairs):
    skeletons = defaultdict(set)
    for pair in sales_pairs:
        skeletons[pair.pattern].add(mask_sql(pair.sql))
    assert all(len(found) == 1 for found in skeletons.values())
    assert len({min(found) for found in skeletons.values()}) == len(PATTERNS)


def test_the_products_own_skeleton_counts_the_same_patterns(sales_pairs):
    normalise = pytest.importorskip("core.sql.normalise", reason="core.sql is not there yet")
    by_product = {normalise.skeleton(pair.sql, "sqlite") for pair in sales_pairs}
    assert len(by_product) == len({mask_sql(pair.sql) for pair in sales_pairs})


def test_questions_are_short(sales_pairs):
    for pair in sales_pairs:
        length = len(pair.question) if pair.language == "zh" else len(pair.question.split())
        assert length <= (32 if pair.language == "zh" else 18), pair.question


def test_pairs_are_written_as_json_lines(sales_pairs, tmp_path):
    path = tmp_path / "pairs.jsonl"
    write_pairs(path, sales_pairs)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(sales_pairs)
    assert list(rows[0]) == ["question", "sql", "split", "pattern", "language"]
    assert any("客户" in row["question"] for row in rows)


@pytest.fixture(scope="module")
def short(sales_database):
    return build_pairs(sales_database, train_limit=200)


class TestShortVariant:
    def test_keeps_to_its_limit_and_has_every_split(self, short):
        sizes = Counter(pair.split for pair in short)
        assert 180 <= sizes["train"] <= 200
        assert sizes["test"] >= 40
        assert sizes["validation"] >= 16
        assert sizes["unseen_patterns"] >= 24

    def test_tests_what_it_teaches(self, short):
        for split in ("train", "validation", "test"):
            found = {pair.pattern for pair in short if pair.split == split}
            assert found == set(STARTERS)

    def test_has_both_languages_in_every_split(self, short):
        for split in {pair.split for pair in short}:
            chinese = [pair.language == "zh" for pair in short if pair.split == split]
            assert 0.4 <= sum(chinese) / len(chinese) <= 0.6

    def test_no_sql_is_in_two_splits(self, short):
        places = defaultdict(set)
        for pair in short:
            places[pair.sql].add(pair.split)
        assert all(len(splits) == 1 for splits in places.values())
