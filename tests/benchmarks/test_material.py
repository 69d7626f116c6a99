"""Materials are there whole or not at all, so that a run that was stopped can be gone on with."""

from itertools import islice

import pytest

from benchmarks.inference.told import keep, prompts_behind
from benchmarks.serve.material import begin, finish
from benchmarks.training.material import whole


def test_a_folder_that_was_not_finished_is_not_there_and_begins_anew(tmp_path):
    folder = tmp_path / "adapter"
    with pytest.raises(KeyboardInterrupt), whole(folder) as partial:
        (partial / "half").touch()
        raise KeyboardInterrupt
    assert not folder.exists()
    with whole(folder) as partial:
        (partial / "weights").touch()
    assert [path.name for path in folder.iterdir()] == ["weights"]


def test_a_platform_without_its_adapter_begins_anew(tmp_path):
    folder = tmp_path / "serve"
    begin(folder)
    (folder / "names-are-taken").touch()
    begin(folder)
    assert not list(folder.iterdir())
    finish(folder)
    begin(folder)
    assert (folder / "trained").exists()


def test_a_contest_that_goes_on_asks_what_was_not_asked(tmp_path):
    prompts, answers = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    prompts.write_text("[10]\n[11]\n[12]\n", encoding="utf-8")
    told = {"prompts": str(prompts)}
    with answers.open("a", encoding="utf-8") as file:
        for number, _ in islice(prompts_behind(told, answers), 2):
            keep(number, [7], file)
    assert list(islice(prompts_behind(told, answers), 2)) == [(2, [12]), (0, [10])]
