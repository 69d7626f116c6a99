"""Heats: what one of them finished is recorded, whatever becomes of the next. And who plays."""

import json
import sys

import pytest

from benchmarks import contest as contests
from benchmarks import record
from benchmarks.comparison import Comparison
from benchmarks.contest import Contestant, allowance
from benchmarks.growth.__main__ import measure
from benchmarks.growth.axes import Point
from benchmarks.heats import Heat, forget_all, play
from benchmarks.inference.__main__ import HEATS, PAIRS, made, who_plays
from benchmarks.inference.contestants import KNOWN
from tests.benchmarks.test_contest import counter


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def heat(name: str, *players: Contestant) -> Heat:
    first, second = (player.name for player in players)
    return Heat(name, players, lambda _: [Comparison(5, first, second, "speed", "turns/s")])


def test_the_result_has_the_rounds_and_the_comparisons_of_all_heats(folder):
    heats = [
        heat("one", counter("a", 4), counter("b", 2)),
        heat("two", counter("a", 3), counter("c", 1)),
    ]
    told = play("both", heats, {"model": "tiny"}, rounds=1, left=allowance(None))
    assert told["rounds"]["one"]["a"] == [{"speed": 8.0}]
    assert told["rounds"]["two"]["a"] == [{"speed": 6.0}]
    assert [row["ratio"]["median"] for row in told["comparisons"]] == [2.0, 3.0]
    recorded = json.loads((folder / "both.json").read_text())
    assert recorded["model"] == "tiny" and recorded["rounds"] == told["rounds"]
    assert recorded["commit"] == ", ".join(recorded["commits"]) and len(recorded["commits"]) == 1
    forget_all("both", heats)
    assert not list(contests.FOLDER.glob("*.json"))


def test_heats_share_their_time_and_those_that_were_finished_are_recorded(folder):
    heats = [
        heat("one", counter("a", 4), counter("b", 2)),
        heat("two", counter("c", 3), counter("d", 1)),
    ]
    minutes = iter([1.0, -1.0])
    with pytest.raises(SystemExit, match="both-two: time is up"):
        play("both", heats, {}, rounds=1, left=lambda: next(minutes))
    assert list(json.loads((folder / "both.json").read_text())["rounds"]) == ["one"]
    assert len(play("both", heats, {}, rounds=1, left=allowance(None))["comparisons"]) == 2


def test_all_pairs_meet_in_a_heat_when_all_peers_are_asked_for():
    together = [set(who_plays(one, KNOWN)) for one in HEATS]
    assert [len(one) for one in together] == [3, 4, 5]
    assert all(any({ours, peer} <= some for some in together) for _, ours, peer, _ in PAIRS)


def test_without_a_peer_nobody_plays_who_is_compared_with_it_alone():
    assert who_plays("adapter", ["hf", "vllm"]) == ["ours-adapter", "hf-adapter", "vllm-adapter"]
    assert who_plays("8bit", ["hf", "vllm"]) == ["ours-8bit", "hf-8bit"]
    assert who_plays("8bit", ["llamacpp"]) == [
        *("ours-8bit", "ours-merged"),
        *("llama-cpp-python", "llama-server"),
    ]
    assert who_plays("merged", ["vllm"]) == ["ours-merged", "vllm-merged"]
    assert who_plays("8bit", ["vllm"]) == []


def grower(name: str) -> Contestant:
    code = counter(name, 1).command[2].replace("speed=", "seconds=1.0, peak_growth_bytes=")
    return Contestant(name, (sys.executable, "-c", code, *counter(name, 1).command[3:]))


def test_a_point_of_growth_that_fails_does_not_cost_the_others(folder):
    broken = Contestant("ours", (sys.executable, "-c", "raise SystemExit('no memory')"))
    kinds = {100: grower("ours"), 250: broken, 500: grower("ours")}
    points = [Point("prefix", value, 8, (one,)) for value, one in kinds.items()]
    with pytest.raises(SystemExit, match="without figures: growth-tiny-prefix-250;"):
        measure("tiny", points, rounds=1, left=allowance(None))
    recorded = json.loads((folder / "growth-tiny.json").read_text())
    assert [one["value"] for one in recorded["points"]] == [100, 500]
    points[1] = Point("prefix", 250, 8, (grower("ours"),))
    found = measure("tiny", points, rounds=1, left=allowance(None))
    assert [one["value"] for one in found] == [100, 250, 500]


def test_every_name_is_made_by_the_one_who_makes_such():
    class Makers:
        def __getattr__(self, kind):
            return lambda *given, **how: (kind, given, how)

    def of(name):
        return made(name, Makers(), {"hf": 32, "llamacpp": 16})

    assert of("ours-8bit") == ("ours", ("ours-8bit",), {"quantization": "8bit"})
    assert of("hf-adapter") == ("hf", ("hf-adapter", 32), {})
    assert of("hf-merged") == ("hf", ("hf-merged", 32), {"merged": True})
    assert of("hf-continuous") == ("continuous", ("hf-continuous",), {})
    assert of("vllm-adapter") == ("vllm", ("vllm-adapter",), {})
    assert of("vllm-merged") == ("vllm", ("vllm-merged",), {"merged": True})
    assert of("llama-cpp-python") == ("llama", ("llama-cpp-python",), {})
    assert of("llama-server") == ("llama_server", ("llama-server", 16), {})
