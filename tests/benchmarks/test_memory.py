"""A contestant's memory is watched from outside its process, also what is free again at its end."""

import json
import sys
from pathlib import Path

from benchmarks import contest as contests
from benchmarks.contest import Contestant, contest
from benchmarks.memory.__main__ import sampled

PEERS = Path(contests.__file__).parent / "peers"
# Takes so many MiB in its turn, holds them a while, and gives them back.
EATER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from turns import Turns
turns = Turns()
turns.ready(weight_bytes=7)
while turns.wait():
    eaten = bytearray(b"x") * (int(sys.argv[2]) << 20)
    time.sleep(0.3)
    del eaten
    turns.answer(seconds=1.0)
"""


def test_the_peak_within_a_turn_is_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(PEERS.parent.parent))
    eater = Contestant("eater", (sys.executable, "-c", EATER, str(PEERS), "64"))
    outcome = contest("eat", [sampled(eater)], rounds=1)
    (turn,) = outcome.rounds["eater"]
    assert 64 << 20 <= turn["peak_growth_bytes"] < 96 << 20
    assert turn["seconds"] == 1.0
    assert outcome.about["eater"]["weight_bytes"] == 7
    assert json.loads(Path(".tuneyard/bench/eat.json").read_text())["rounds"] == outcome.rounds
