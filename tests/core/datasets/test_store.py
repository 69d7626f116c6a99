"""Datasets are written once as Arrow, hashed by content, and read back by plain `datasets`."""

import pytest

from core.datasets.examples import Example
from core.datasets.store import DatasetWriter, Spool, read_examples, read_info

CONTEXT = '[{"role": "system", "content": "s"}]'
ROWS = [
    (Example(1, "多少?", "", "SELECT 1"), None, "train"),
    (Example(2, "😀 how", "more", "SELECT 2", CONTEXT), None, "test"),
    (Example(5, "why", "", "SELECT 3"), None, "train"),
]


def write(tmp_path, rows=ROWS, *, name="one", batch=2, info=None) -> tuple:
    writer = DatasetWriter(tmp_path / f"{name}.scratch")
    for at in range(0, len(rows), batch):
        writer.add(rows[at : at + batch])
    digest = writer.content_hash(kind="sql")
    writer.save(tmp_path / name / "dataset", info or {"kind": "sql"})
    assert not (tmp_path / f"{name}.scratch").exists()
    return tmp_path / name / "dataset", digest


def test_datasets_reads_what_was_written(tmp_path):
    from datasets import load_from_disk

    directory, _ = write(tmp_path, info={"kind": "sql", "schema_text": "表(a)"})
    found = load_from_disk(str(directory))
    assert set(found) == {"train", "test"}
    assert found["train"].column_names == ["line", "question", "input", "answer", "context"]
    assert found["train"]["line"][:] == [1, 5]
    assert found["test"][0] == {
        "line": 2,
        "question": "😀 how",
        "input": "more",
        "answer": "SELECT 2",
        "context": CONTEXT,
    }
    assert read_info(directory)["schema_text"] == "表(a)"


def test_hash_follows_the_content_alone(tmp_path):
    _, digest = write(tmp_path)
    elsewhere = [(Example(n + 9, *_content(row[0])), None, row[2]) for n, row in enumerate(ROWS)]
    assert write(tmp_path, elsewhere, name="two", batch=1)[1] == digest
    assert write(tmp_path, ROWS[:2], name="three")[1] != digest
    moved = [*ROWS[:2], (ROWS[2][0], None, "test")]
    assert write(tmp_path, moved, name="four")[1] != digest
    assert digest == "2289b27a702b437c5f6d2abd5c64762ce9a46969d88061dfb7c666ba34643c1f"


def _content(example: Example) -> tuple:
    return example.question, example.input, example.answer, example.context


def test_nothing_is_written_over_a_dataset(tmp_path):
    write(tmp_path)
    with pytest.raises(FileExistsError):
        write(tmp_path)


def test_pages_of_examples_are_read_without_datasets(tmp_path):
    rows = [(Example(n, f"q{n}", "", "a"), None, "train") for n in range(2500)]
    directory, _ = write(tmp_path, rows, batch=1000)
    page = read_examples(directory, "train", start=998, limit=4)
    assert [row["question"] for row in page] == ["q998", "q999", "q1000", "q1001"]
    assert read_examples(directory, "train", start=2499)[0]["line"] == 2499
    assert read_examples(directory, "train", start=2500) == []


def test_spool_gives_back_what_it_was_given_and_leaves_nothing(tmp_path):
    with Spool(tmp_path / "spool") as spool:
        for n in range(2100):
            spool.add(Example(n, "问\n", "", "a"), ("n", "p", "easy") if n % 2 else None)
        batches = list(spool.batches())
        assert [len(batch) for batch in batches] == [1000, 1000, 100]
        assert batches[2][99] == (Example(2099, "问\n", "", "a"), ("n", "p", "easy"))
    assert list(tmp_path.iterdir()) == []
