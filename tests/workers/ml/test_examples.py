from tests.tiny_model import build_tiny_dataset
from workers.ml.examples import read_dataset


def test_a_prepared_dataset_is_read_with_its_kind_and_schema(tmp_path):
    data = [{"question": "q", "answer": "a"}, {"question": "q", "answer": "b", "split": "test"}]
    dataset = read_dataset(build_tiny_dataset(tmp_path / "d", data, schema_text="t(a)"))
    assert (dataset.kind, dataset.schema_text, dataset.dialect) == ("sql", "t(a)", "sqlite")
    assert dataset.splits["test"][0]["answer"] == "b" and dataset.splits["test"][0]["line"] == 2
