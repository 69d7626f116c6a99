from types import SimpleNamespace

from workers.ml import memory

CONFIG = SimpleNamespace(
    hidden_size=576, intermediate_size=1536, num_hidden_layers=30, vocab_size=49152
)


def need(**changes):
    values = dict(tokens=1000, labels=500, itemsize=2, gradient_checkpointing=False) | changes
    return memory.group_bytes(CONFIG, **values)


def test_the_estimate_grows_with_the_group_and_shrinks_with_checkpointing():
    assert need(tokens=2000) > need() > need(gradient_checkpointing=True)
    assert need(itemsize=4) > need()
    assert 500e6 < need() < 2e9  # a group of 16 GeoQuery examples took about 1 GB


def test_the_host_is_measured():
    assert memory.used("cpu") > 1e6 and memory.peak("cpu") > 1e6
    assert memory.available("cpu") > 0
    memory.keep_freed_memory()
