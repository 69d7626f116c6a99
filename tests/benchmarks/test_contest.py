"""Contests: turns, what is kept of them, ratios round by round. The contestants only count."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import contest as contests
from benchmarks import record
from benchmarks.comparison import Comparison, conclude, table
from benchmarks.contest import Contestant, Ended, Outcome, Player, contest, forget

PEERS = Path(contests.__file__).parent / "peers"
# Its figure is how many turns it has had, times a factor; it may end before a turn.
COUNTER = """
import sys
sys.path.insert(0, sys.argv[1])
from turns import Turns
turns, had = Turns(), 0
turns.ready(name="counter")
while turns.wait():
    had += 1
    if had > int(sys.argv[3]):
        sys.exit("no more")
    print("noise on stdout")
    turns.answer(speed=had * float(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def counter(name: str, factor: float, *, until: int = 99) -> Contestant:
    command = (sys.executable, "-c", COUNTER, str(PEERS), str(factor), str(until))
    return Contestant(name, command)


def test_a_round_is_a_turn_of_each_and_the_first_turn_does_not_count():
    outcome = contest("count", [counter("a", 1), counter("b", 10)], rounds=2)
    assert outcome.rounds == {
        "a": [{"speed": 2.0}, {"speed": 3.0}],
        "b": [{"speed": 20.0}, {"speed": 30.0}],
    }
    assert outcome.about["a"]["name"] == "counter"


def test_a_stopped_contest_goes_on_where_it_was():
    both = [counter("a", 1), counter("b", 2)]
    contest("count", both, rounds=1)
    assert len(contest("count", both, rounds=3).rounds["a"]) == 3
    assert [one["speed"] for one in contest("count", both, rounds=3).rounds["a"]] == [2.0, 2.0, 3.0]


def test_a_finished_contest_starts_no_contestant():
    gone = Contestant("gone", ("no-such-program",))
    contests.FOLDER.mkdir(parents=True)
    kept = {"contestants": {"gone": ["no-such-program"]}, "about": {}, "rounds": {"gone": [{}]}}
    here = {"cpu": record.machine()["cpu"]}
    (contests.FOLDER / "old.json").write_text(json.dumps(kept | here))
    assert contest("old", [gone], rounds=1).rounds == {"gone": [{}]}


def test_contestants_that_are_called_otherwise_begin_anew():
    contest("count", [counter("a", 1)], rounds=2)
    assert contest("count", [counter("a", 5)], rounds=1).rounds == {"a": [{"speed": 10.0}]}


def test_rounds_of_another_machine_are_not_gone_on_with(monkeypatch):
    contest("count", [counter("a", 1)], rounds=2)
    monkeypatch.setattr(record, "machine", lambda: {"cpu": "another"})
    assert len(contest("count", [counter("a", 1)], rounds=1).rounds["a"]) == 1


def test_what_went_on_at_another_commit_tells_both(monkeypatch):
    for commit, rounds in (("abc", 1), ("abc", 2), ("def+", 3)):
        monkeypatch.setattr(record, "commit", lambda commit=commit: commit)
        outcome = contest("count", [counter("a", 1)], rounds=rounds)
    monkeypatch.setattr(record, "commit", lambda: "another, at which nothing is played")
    assert contest("count", [counter("a", 1)], rounds=3).commits == ["abc", "def+"]
    assert outcome.commits == ["abc", "def+"]


def test_what_is_forgotten_begins_anew():
    contest("count", [counter("a", 1)], rounds=3)
    forget("count")
    assert len(contest("count", [counter("a", 1)], rounds=1).rounds["a"]) == 1


def test_when_time_is_up_the_rounds_played_are_kept():
    one = [counter("a", 1)]
    contest("count", one, rounds=1)
    with pytest.raises(SystemExit, match="goes on from here"):
        contest("count", one, rounds=5, minutes=0)
    assert len(contest("count", one, rounds=1).rounds["a"]) == 1


def test_a_contestant_that_dies_is_named_with_its_last_words():
    with pytest.raises(SystemExit, match="(?s)weak ended too early.*no more"):
        contest("count", [counter("weak", 1, until=1)], rounds=3)


def test_one_that_is_gone_before_its_turn_is_named_too(tmp_path):
    player = Player(counter("gone", 1), tmp_path / "log")
    player.process.kill()
    player.process.wait()
    with pytest.raises(Ended, match="gone ended too early"):
        player.turn()
    player.leave()


def test_a_contestant_does_not_outlive_a_contest_that_is_killed(tmp_path):
    code = "import sys, time; from pathlib import Path; from benchmarks import contest as c; "
    code += "one = c.Contestant('a', tuple(sys.argv[1:])); player = c.Player(one, Path('log')); "
    code += "print(player.process.pid, flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code, *counter("a", 1).command]
    given = os.environ | {"PYTHONPATH": str(PEERS.parent.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=given) as parent:
        contestant = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs([contestant], timeout=20)
    assert not alive


def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    speeds = {"ours": [10, 20, 90], "peer": [5, 5, 30]}
    outcome = Outcome({}, {name: [{"speed": s} for s in all_] for name, all_ in speeds.items()})
    assert outcome.ratio("ours", "peer", "speed") == {"median": 3.0, "lowest": 2.0, "highest": 4.0}


def test_an_aim_is_met_from_below_or_where_less_is_better_from_above():
    outcome = Outcome({}, {"ours": [{"seconds": 2.0}], "peer": [{"seconds": 1.0}]})
    more = Comparison(1, "ours", "peer", "seconds", "s", aim=1.5)
    less = Comparison(1, "ours", "peer", "seconds", "s", aim=1.5, lower=True)
    none = Comparison(1, "ours", "peer", "seconds", "s")
    rows = conclude(outcome, [more, less, none])
    assert [row["met"] for row in rows] == [True, False, None]
    line = "| 1 | ours | peer | s | 2.00 | 1.00 | **2.00** | 2.00 to 2.00 (1) |  | ≥ 1.50 | yes |"
    assert line in table(rows)
