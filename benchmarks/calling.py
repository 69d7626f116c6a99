"""How contestants are called: ours as a module of `benchmarks`, a peer's script of
`benchmarks/peers` in the peer's environment. Knows no contest.

Peers have what ours asks glibc for, but for the script of tutorials, which is as it is.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.contest import Contestant
from benchmarks.peers.environments import python_of

PEERS = Path(__file__).parent / "peers"
# As `workers.ml.memory.keep_freed_memory` has it.
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def ours(name: str, module: str, told: Mapping[str, Any]) -> Contestant:
    """`module`: its name within `benchmarks`."""
    return Contestant(name, (sys.executable, "-m", f"benchmarks.{module}", json.dumps(told)))


def peer(
    name: str, environment: str, script: str, told: Mapping[str, Any], *, tuned: bool = True
) -> Contestant:
    """`environment`: that of the packages (`requirements/NAME.txt`)."""
    command = (str(python_of(environment)), str(PEERS / script), json.dumps(told))
    return Contestant(name, command, KEEP_FREED_MEMORY if tuned else {})
