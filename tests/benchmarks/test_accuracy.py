"""Cells of the accuracy benchmark: the product's recipes on GeoQuery's layout, kept when done."""

import json
import sqlite3

import pytest

from benchmarks import record
from benchmarks.accuracy import __main__ as accuracy
from benchmarks.accuracy import cell
from benchmarks.accuracy.cells import Cell, cells
from benchmarks.accuracy.conclusion import conclude
from benchmarks.accuracy.material import beginning, make_dataset, three_shot_schema
from benchmarks.accuracy.table import table
from tests.tiny_model import build_tiny_model
from workers.ml.examples import read_dataset


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    with sqlite3.connect(folder / "db.sqlite") as database:
        database.execute("CREATE TABLE city (name TEXT, people INTEGER)")
        database.execute("INSERT INTO city VALUES ('Paris', 2)")
    rows = [
        {
            "question": f"Which cities have {number} people?",
            "sql": f"SELECT name FROM city WHERE people = {number}",
            "split": "train" if number < 8 else "test",
            "query_split": "train" if number < 6 else "test",
        }
        for number in range(10)
    ]
    (folder / "examples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture
def told(tmp_path, data):
    return {
        "folder": str(tmp_path / "cell"),
        "data": str(data),
        "model": str(build_tiny_model(tmp_path / "model")),
        "split": "test",
        "method": "ours-full",
        "seed": 1,
        "quantization": "none",
        "epochs": 1,
    }


def run(told, monkeypatch):
    monkeypatch.setattr("sys.argv", ["cell", json.dumps(told)])
    cell.main()


def test_each_split_says_itself_what_is_trained_on(tmp_path, data):
    sizes = {
        split: {name: len(rows) for name, rows in read_dataset(folder).splits.items()}
        for split in ("test", "strict")
        for folder in [make_dataset(data, tmp_path / split, split)]
    }
    assert sizes == {"test": {"train": 8, "test": 2}, "strict": {"train": 6, "test": 4}}


def test_three_training_examples_stand_behind_the_schema(tmp_path, data):
    schema = three_shot_schema(make_dataset(data, tmp_path / "set", "test"))
    assert schema.count("Question: ") == 3 and "city" in schema.split("Question: ")[0]
    assert "= 8" not in schema and "= 9" not in schema


def test_a_cell_trains_and_judges_every_test_question(tmp_path, told, monkeypatch):
    run(told, monkeypatch)
    kept = json.loads((tmp_path / "cell/rows.json").read_text())
    assert [row["question"] for row in kept["rows"]] == [
        "Which cities have 8 people?",
        "Which cities have 9 people?",
    ]
    assert kept["figures"]["prompt"] == "bare"


def test_a_cell_that_was_stopped_after_its_training_does_not_train_again(
    tmp_path, told, monkeypatch
):
    run(told, monkeypatch)
    trained = tmp_path / "cell/trained.json"
    before = trained.stat().st_mtime_ns
    (tmp_path / "cell/rows.json").unlink()
    run(told, monkeypatch)
    assert trained.stat().st_mtime_ns == before and (tmp_path / "cell/rows.json").exists()


def test_a_peer_is_told_what_ours_resolves_and_begins_with_the_same_adapter(tmp_path, told, data):
    inputs = {"model": build_tiny_model(tmp_path / "m"), "dataset": None}
    inputs["dataset"] = make_dataset(data, tmp_path / "set", "test")
    given = beginning(cell.settings(told), inputs, tmp_path / "beginning")
    assert (given["epochs"], given["batch_size"], given["seed"]) == (1, 16, 1)
    assert len((tmp_path / "beginning/rows.jsonl").read_text().splitlines()) == 8
    names = {path.name for path in (tmp_path / "beginning/adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names


def test_the_base_comes_first_and_each_seed_trains_every_method():
    wanted = list(cells("test", 2))
    assert wanted[0] == Cell("test", "base-zero-shot", 0)
    for method in ("ours-8bit", "ours-full", "trl-full", "classic-full", "peft-8bit"):
        assert [one.seed for one in wanted if one.method == method] == [1, 2]
    assert len({one.name for one in wanted}) == len(wanted) == 12
    assert wanted[-1].quantization == "8bit" and wanted[-2].quantization == "none"


def leave(home, cell: Cell, *right: bool) -> None:
    folder = home / cell.name
    folder.mkdir(parents=True)
    figures = {"invalid_sql": 0.5, "precision": "bf16"}
    commit = "abc" if cell.seed else "def"
    rows = {"figures": figures, "rows": [{"correct": one} for one in right], "commit": commit}
    (folder / "rows.json").write_text(json.dumps(rows))


def test_what_is_done_is_told_and_compared_over_the_seeds_that_both_have(tmp_path):
    leave(tmp_path, Cell("test", "base-zero-shot", 0), False, False)
    leave(tmp_path, Cell("test", "ours-8bit", 1), True, True)
    leave(tmp_path, Cell("test", "ours-8bit", 2), True, False)
    leave(tmp_path, Cell("test", "trl-full", 1), True, False)
    told = conclude("test", [*cells("test", 3)], tmp_path, "smollm2-135m")
    assert [(one["method"], one["seeds"], one["value"]) for one in told["accuracies"]] == [
        ("base-zero-shot", [0.0], 0.0),
        ("ours-8bit", [1.0, 0.5], 0.75),
        ("trl-full", [0.5], 0.5),
    ]
    assert {one["peer"]: (one["seeds"], one["value"]) for one in told["differences"]} == {
        "trl-full": ([1], 0.5),
        "base-zero-shot": ([1, 2], 0.75),
    }
    assert told["commits"] == ["def", "abc"]
    shown = table(told)
    assert "| ours-8bit | bf16 | **75.0%** | 100.0%, 50.0% | 50.0% |" in shown
    assert "| ours-8bit | base-zero-shot | 1, 2 | +75.0 |" in shown


def test_when_time_is_up_it_says_what_is_missing_and_does_not_end_well(tmp_path, monkeypatch):
    """`make bench` comes back to what did not end well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    leave(accuracy.FOLDER / "tiny-auto", Cell("test", "base-zero-shot", 0), True)
    command = ["accuracy", "data", "--model", "tiny", "--seeds", "1", "--splits", "test"]
    monkeypatch.setattr("sys.argv", [*command, "--minutes", "0"])
    with pytest.raises(
        SystemExit, match="time is up before test-base-three-shot-0, test-ours-8bit"
    ):
        accuracy.main()
    for one in cells("test", 1):
        if one.method != "base-zero-shot":
            leave(accuracy.FOLDER / "tiny-auto", one, True)
    accuracy.main()
    recorded = json.loads((tmp_path / "results/accuracy-tiny-test.json").read_text())
    assert len(recorded["accuracies"]) == 7 and recorded["commit"] == "def, abc"
