"""Contestant: another contestant, with its memory watched while it has its turn.

    python -m benchmarks.memory.sampled JSON-OF-ITS-COMMAND

Its figures go through, with `peak_growth_bytes`: the most that its anonymous memory (RssAnon: heap,
not the pages of mapped weight files) has ever been above what it was before its first turn.
"""

import json
import sys
import threading
from pathlib import Path

from benchmarks.contest import Contestant, Player
from benchmarks.peers.turns import Turns

EVERY_SECONDS = 0.01
LOG = Path(".tuneyard/bench/sampled")


def main() -> None:
    turns = Turns()
    command = tuple(json.loads(sys.argv[1]))
    LOG.mkdir(parents=True, exist_ok=True)
    player = Player(Contestant("sampled", command), LOG / f"{threading.get_native_id()}.log")
    sampler = Sampler(player.process.pid)
    turns.ready(**player.about, before_bytes=sampler.before)
    while turns.wait():
        with sampler:
            figures = player.turn()
        turns.answer(**figures, peak_growth_bytes=sampler.peak - sampler.before)
    player.leave()


class Sampler:
    """Looks at a process's anonymous memory as long as its `with` lasts; keeps the most."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.before = self.peak = anonymous_bytes(pid)

    def __enter__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def __exit__(self, *error) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            self.peak = max(self.peak, anonymous_bytes(self.pid))


def anonymous_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


if __name__ == "__main__":
    main()
