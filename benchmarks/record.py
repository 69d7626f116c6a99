"""Where figures go: benchmarks/results/NAME.json, with the machine, the versions and the commit."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")
RESULTS = Path(__file__).parent / "results"
# What benchmarks write themselves: it makes no other program of a commit.
WRITTEN = ("benchmarks/results", "docs/performance", "docs/performance.md")


def write(name: str, figures: dict[str, Any]) -> None:
    """`figures` that were measured bit by bit say themselves at which `commits`."""
    RESULTS.mkdir(exist_ok=True)
    whole = figures | {"machine": machine(), "versions": versions(), "date": today()}
    whole["commit"] = ", ".join(figures.get("commits", ())) or commit()
    text = json.dumps(whole, ensure_ascii=False, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(f"{name}.json: {told(whole)}", file=sys.stderr, flush=True)


def told(figures: dict[str, Any]) -> str:
    """Where, with what and when, in a line."""
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    commit = f"commit {figures['commit']}, {figures['date']}"
    return f"{place(figures['machine'])}; {versions}; {commit}"


def place(machine: dict[str, Any]) -> str:
    return f"{machine['cores']} cores {machine['cpu']}, {machine['memory_gib']} GiB"


def machine() -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in cpu.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(fields.get("flags", "").split())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": fields.get("model name", platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "instructions": sorted(flags & {"avx2", "avx512f", "avx512_bf16", "avx512_vnni"}),
        "memory_gib": round(memory / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def commit() -> str:
    """The commit, with a plus behind it where the program differs from it."""
    head = _git("rev-parse", "--short=12", "HEAD")
    others = [f":(exclude){path}" for path in WRITTEN]
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *others)
    return f"{head}{'+' if changed else ''}" if head else "unknown"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True).stdout.strip()


def today() -> str:
    return datetime.now(UTC).date().isoformat()
