"""docs/performance.md holds what benchmarks/results holds, and nothing that was typed."""

import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks import plot
from benchmarks.accuracy.bootstrap import difference
from benchmarks.comparison import Comparison, conclude
from benchmarks.contest import Outcome
from benchmarks.page import DOCS, GOALS, NOT_YET, render, results
from benchmarks.profiles.kinds import ATTENTION, KINDS
from benchmarks.serve.load import percentiles

RUN = {
    "machine": {"cpu": "Some CPU", "cores": 2, "memory_gib": 8},
    "versions": {"torch": "9.9"},
    "about": {"ours": {"versions": {"torch": "9.9"}}, "peer": {"versions": {"trl": "8.8"}}},
    "commit": "abc",
    "date": "2026-01-02",
}


def training_run() -> dict:
    rounds = {"ours": [{"speed": 30.0}, {"speed": 50.0}], "peer": [{"speed": 2.0}, {"speed": 2.0}]}
    wanted = Comparison(1, "ours", "peer", "speed", "examples/s", ideal=30.0, aim=12.0)
    gradients = {"whole": 1e-6, "worst": 1e-5, "tensors": 4}
    return RUN | {
        "comparisons": conclude(Outcome({}, rounds), [wanted]),
        "gradients": gradients,
    }


def test_the_page_and_its_plots_are_those_of_the_results():
    page, plots = render(results())
    assert (DOCS / "performance.md").read_text(encoding="utf-8") == page
    folder = DOCS / "performance"
    written = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.svg")}
    assert written == plots


def test_a_goal_without_a_result_says_so():
    page, plots = render({})
    sections = page.split("\n## ")[1:]
    assert len(sections) == len(GOALS) + 8
    assert all(NOT_YET in section for section in sections) and not plots


def test_a_row_shows_figures_ratio_spread_ideal_and_aim():
    page, _ = render({("training", "smollm2-135m"): training_run()})
    figures = "40.0 | 2.00 | **20.0** | 15.0 to 25.0 (2) | 30.0 | ≥ 12.0 | yes |"
    assert f"| smollm2-135m | ours | peer | examples/s | {figures}" in page


def test_a_run_is_shown_with_machine_versions_commit_and_date():
    page, _ = render({("training", "smollm2-135m"): training_run()})
    run = "| 2 cores Some CPU, 8 GiB | torch 9.9, trl 8.8 | abc | 2026-01-02 |"
    assert f"| training | smollm2-135m {run}" in page


def test_the_api_is_shown_with_what_it_adds_and_how_things_grow():
    rounds = {"ours": [{"speed": 80.0}], "bare": [{"speed": 100.0}]}
    wanted = Comparison(14, "ours", "bare", "speed", "submits/s", aim=0.7)
    points = [
        {"count": 1000, "seconds": 0.5, "grown_bytes": 0},
        {"count": 10000, "seconds": 10.0, "grown_bytes": 3 << 20},
    ]
    figures = RUN | {
        "database": "sqlite",
        "comparisons": conclude(Outcome({}, rounds), [wanted]),
        "growth": {"upload, rows": points},
    }
    page, plots = render({("api", "sqlite"): figures})
    assert "| sqlite | ours | bare | submits/s | 80.0 | 100 | **0.800** |" in page
    assert "| upload, rows | 1,000 / 10,000 | 0.500 / 10.0 | 0.00 / 3.00 | 2.00 |" in page
    assert set(plots) == {"api-growth-sqlite.svg"}


def test_an_estimate_is_shown_beside_what_happened():
    one = {"steps": [9, 10], "seconds": [80.4, 100.0]}
    told = {"three epochs": one | {"of_what_happened": 0.804, "within": True}}
    page, _ = render({("estimates", "smollm2-135m"): RUN | {"rows": 9, "trainings": told}})
    row = "| three epochs | 9 | 10 | 80 | 100 | 0.80 | yes |"
    assert f"| smollm2-135m {row}" in page


def test_a_result_of_some_heats_is_shown_and_the_other_goals_say_so():
    page, _ = render({("training", "smollm2-135m"): training_run()})
    first, third = (page.split(f"\n## {goal}. ")[1].split("\n## ")[0] for goal in (1, 3))
    assert "**20.0**" in first
    assert f"| smollm2-135m | {NOT_YET} |" in third


def test_memory_says_in_what_dtype_steps_were_taken():
    page, _ = render({("memory", "smollm2-135m"): training_run() | {"dtype": "fp32"}})
    assert "smollm2-135m: Weights are those of bases loaded in bf16." in page
    assert "in fp32 (the classic script in fp32)" in page


def test_what_was_tried_is_shown_with_its_ratio_memory_and_what_became_of_it():
    turn = {"speed": 2.0, "peak_bytes": 300 << 20}
    rounds = {"as-it-is": [turn], "4bit": [turn | {"speed": 1.0, "peak_bytes": 200 << 20}]}
    wanted = Comparison(0, "4bit", "as-it-is", "speed", "examples/s")
    figures = RUN | {
        "model": "smollm2-135m",
        "dtype": "fp32",
        "without": ["jemalloc"],
        "comparisons": conclude(Outcome({}, rounds), [wanted]),
        "rounds": {"weights": rounds},
        "about": {"4bit": {"weight_bytes": 100 << 20, "versions": {}}},
    }
    page, _ = render({("tried", "smollm2-135m"): figures})
    row = "| 4bit | as-it-is | 1.00 | 2.00 | **0.500** | 0.500 to 0.500 (1) | 100 | 200 |"
    assert f"{row} `quantization: 4bit` |" in page
    assert "smollm2-135m, fp32. Not tried on that machine: jemalloc." in page


def test_ways_of_answering_are_shown_with_accuracy_and_equal_answers():
    ways = ("dequantised", "not-quantised", "dequantised-alone", "transformers-alone")
    rounds = {way: [{"speed": 4.0, "peak_bytes": 3 << 20}] for way in ways}
    rounds["not-quantised"] = [{"speed": 2.0, "peak_bytes": 5 << 20}]
    same = {way: {"equal": 3, "of": 4} for way in ways}
    said = {"asked": 4, "right": 2, "invalid": 1, "equal": same}
    wanted = [Comparison(0, "dequantised", way, "speed", "requests/s") for way in ways]
    figures = RUN | {
        "model": "smollm2-135m",
        "dtype": "fp32",
        "comparisons": conclude(Outcome({}, rounds), wanted),
        "answers": dict.fromkeys(ways, said),
        "rounds": rounds,
        "about": {way: {"weight_bytes": 9 << 20, "versions": {}} for way in ways},
    }
    page, _ = render({("quantised", "smollm2-135m"): figures})
    costs = "2.00 | **2.00** | 2.00 to 2.00 (1) | 9.00 | 5.00"
    answers = "50.0% of 4 | 25.0% | 75.0% of 4 | 75.0% of 4 | 75.0% of 4"
    assert f"| not-quantised | {costs} | {answers} |" in page


def test_growth_becomes_plots_of_time_and_of_memory():
    points = [
        {"axis": "prefix", "value": x, "who": who, "seconds": x / 10, "growth_bytes": x << 20}
        for x in (100, 4000)
        for who in ("ours", "peft")
    ]
    figures = RUN | {"model": "smollm2-135m", "units": {"prefix": "tokens"}, "points": points}
    page, plots = render({("growth", "smollm2-135m"): figures})
    assert set(plots) == {
        "prefix-seconds-smollm2-135m.svg",
        "prefix-growth-smollm2-135m.svg",
    }
    assert all(f"(performance/{name})" in page for name in plots)


def test_a_plot_is_well_formed_and_has_a_line_for_each_series():
    svg = plot.lines("a < b", "x", "y", {"one": [(0, 0), (5, 7)], "two": [(1, 3)]})
    tree = ElementTree.fromstring(svg)
    thick = [line for line in tree.findall("{*}polyline") if line.get("stroke-width") == "2"]
    assert len(thick) == 2 and len(tree.findall("{*}circle")) == 3


def test_a_plot_s_large_numbers_are_told_with_all_their_digits():
    svg = plot.lines("title", "x", "y", {"one": [(0, 0), (100_000, 7_500)]})
    told = {text.text for text in ElementTree.fromstring(svg).findall("{*}text")}
    assert {"75,000", "100,000", "2,000", "8,000"} <= told


@pytest.mark.parametrize(
    ("ours", "theirs", "certain"),
    [([1, 1, 1, 1, 1, 1, 1, 0] * 10, [0] * 80, True), ([1, 0] * 20, [0, 1] * 20, False)],
)
def test_a_paired_difference_has_an_interval_around_it(ours, theirs, certain):
    gap = difference(ours, theirs)
    assert gap["low"] <= gap["value"] <= gap["high"]
    assert (gap["low"] > 0) is certain
    assert difference(ours, theirs) == gap


def test_a_load_test_is_shown_as_a_table_and_plots():
    waits = {"p50": 1.25, "p95": 2.5, "p99": 3.75}
    levels = [
        {
            "clients": clients,
            "requests": 60,
            "failed": 0,
            "requests_per_second": 2.0 * clients,
            "tokens_per_second": 50.0,
            "seconds": waits,
            "first_token_seconds": {"p50": 0.1, "p95": 0.2, "p99": 0.3},
        }
        for clients in (1, 8)
    ]
    levels.append(levels[0] | {"clients": 32, "first_token_seconds": None})
    rounds = {"http": [{"first": 0.012}], "engine": [{"first": 0.01}]}
    wanted = Comparison(9, "http", "engine", "first", "ms", scale=1000, aim=1.2, lower=True)
    figures = RUN | {
        "model": "smollm2-135m",
        "conditions": {"load_average": 0.5, "cores": 2},
        "levels": levels,
        "sql": {"requests": 40, "executes": 30, "seconds": waits, "aim": 1.0},
        "comparisons": conclude(Outcome({}, rounds), [wanted]),
    }
    page, plots = render({("serve", "smollm2-135m"): figures})
    assert "| 8 | 60 | 0 | 16.0 | 50.0 | 1.25 / 2.50 / 3.75 | 0.100 / 0.200 / 0.300 |" in page
    assert "| smollm2-135m | http | engine | ms | 12.0 | 10.0 | **1.20** |" in page
    assert "| 32 | 60 | 0 | 2.00 | 50.0 | 1.25 / 2.50 / 3.75 | no answer |" in page
    assert "the 50th under 1 s, is not met." in page
    figures["sql"]["seconds"] = {"p50": 0.9, "p95": 1.5, "p99": 1.6}
    assert "the 50th under 1 s, is met." in render({("serve", "smollm2-135m"): figures})[0]
    assert set(plots) == {"serve-latency-smollm2-135m.svg", "serve-throughput-smollm2-135m.svg"}


def test_a_percentile_is_what_somebody_waited():
    assert percentiles([0.1 * n for n in range(1, 101)]) == {"p50": 5.0, "p95": 9.5, "p99": 9.9}
    assert percentiles([3.0]) == {"p50": 3.0, "p95": 3.0, "p99": 3.0}
    assert percentiles([]) is None


def test_where_the_time_goes_is_shown_in_shares_of_the_profiled_seconds():
    turns = [{"plain_seconds": 2.0, "seconds": s} | dict.fromkeys(KINDS, 0.0) for s in (4.0, 5.0)]
    for turn in turns:
        turn |= {ATTENTION: turn["seconds"] / 4}
    rounds = {"training": {"step-8bit": turns}}
    figures = RUN | {"model": "smollm2-135m", "dtype": "fp32", "rounds": rounds}
    page, _ = render({("profiles", "smollm2-135m"): figures})
    assert "| step-8bit (2) | 2.00 | 4.50 |  |  | 25% |" in page
