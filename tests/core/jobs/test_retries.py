"""The rules of retries themselves; what a failed attempt does to its job is in test_states."""

import re
from pathlib import Path

import pytest

from core.errors import FAILURE_CLASSES
from core.jobs.retries import RULES

PAGE = Path(__file__).resolve().parents[3] / "docs/RELIABILITY.md"


def test_every_failure_class_has_a_rule() -> None:
    assert set(RULES) == set(FAILURE_CLASSES)


def test_waits_grow_from_seconds_to_minutes_and_no_further() -> None:
    rule = RULES["infra"]
    longest = [rule.wait_seconds(retried, chance=lambda: 1.0) for retried in range(8)]
    assert longest == [5, 15, 45, 135, 300, 300, 300, 300]


def test_waits_are_spread_over_the_whole_time() -> None:
    waits = [RULES["infra"].wait_seconds(3) for _ in range(200)]
    assert min(waits) < 30 and max(waits) > 100 and max(waits) <= 135


@pytest.mark.parametrize("klass", sorted(set(FAILURE_CLASSES) - {"infra"}))
def test_what_a_person_has_to_mend_is_not_tried_again(klass: str) -> None:
    assert RULES[klass].times == 0


def test_the_page_says_how_often_each_class_is_tried_again() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|", PAGE.read_text(encoding="utf-8"), re.M)
    said = {klass: int((re.match(r"\d+", rule) or ["0"])[0]) for klass, rule in rows}
    assert said == {klass: rule.times for klass, rule in RULES.items()}
