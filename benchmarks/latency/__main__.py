"""Goal 9, in process: one warm question to its last token, against transformers' greedy decoding
as it is called, from a cache that is warm too, and by prompt lookup, in turns; and how many answers
are equal to the last token.

    python -m benchmarks.latency FOLDER [--model NAME] [--rounds 5] [--minutes M]

A turn is a few of GeoQuery's questions, one after the other, with the schema in the prompt and the
adapter merged. Goes on where it was stopped; writes benchmarks/results/latency-NAME.json.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.calling import ours, peer
from benchmarks.comparison import Comparison, conclude, table
from benchmarks.contest import Contestant, contest, forget
from benchmarks.inference.contestants import Players
from benchmarks.inference.material import prepare
from benchmarks.precision import native

QUESTIONS = 4  # a turn
THEIRS = {
    "greedy": {"lookup": 0, "warm": False},
    "warm": {"lookup": 0, "warm": True},
    "lookup": {"lookup": 10, "warm": False},  # tokens, as transformers' documentation has it
}
AIMS = {"greedy": 1.6, "warm": None, "lookup": 1.1}
FOLDER = Path(".tuneyard/bench")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    material = prepare(options.model, options.folder, FOLDER / options.model)
    told = Players(material, QUESTIONS).told("none", merged=True)
    answers = (FOLDER / options.model / "answers").absolute()
    answers.mkdir(exist_ok=True)
    name = f"latency-{options.model}"
    players = list(contestants(told, answers))
    outcome = contest(name, players, rounds=options.rounds, minutes=options.minutes)
    rows = conclude(outcome, comparisons())
    about = {"model": options.model, "questions": QUESTIONS, "identical": identical(answers)}
    about["seconds"] = {name: outcome.median(name, "seconds_a_request") for name in outcome.rounds}
    record.write(name, about | {"comparisons": rows, **asdict(outcome)})
    forget(name)
    for path in answers.glob("*.jsonl"):  # contestants add to them, also in a run that goes on
        path.unlink()
    print(table(rows))
    print(f"seconds a request: {about['seconds']}")
    print(f"equal to transformers' greedy answers: {about['identical']}")


def precisions() -> list[str]:
    """What this machine computes in, and fp32, where tokens are equal but for ties."""
    return list(dict.fromkeys((native(), "fp32")))


def contestants(told: dict, answers: Path) -> Iterator[Contestant]:
    for precision in precisions():

        def settings(name: str, precision=precision, **more) -> dict[str, Any]:
            file = str(answers / f"{name}-{precision}.jsonl")
            return told | {"precision": precision, "answers": file} | more

        yield ours(f"ours-{precision}", "latency.ours", settings("ours"))
        for name, more in THEIRS.items():
            yield peer(f"{name}-{precision}", "hf", "hf_latency.py", settings(name, **more))


def comparisons() -> Iterator[Comparison]:
    each = {"figure": "requests_per_second", "unit": "requests/s, one at a time"}
    for precision in precisions():
        ours, goal = f"ours-{precision}", precision == native()
        for name, aim in AIMS.items():
            yield Comparison(9, ours, f"{name}-{precision}", aim=aim if goal else None, **each)


def identical(answers: Path) -> dict[str, dict[str, int]]:
    """For each precision, how many answers of ours and of the peer's other ways are those of its
    greedy decoding, of how many that both gave."""
    found = {}
    for precision in precisions():
        greedy = _read(answers / f"greedy-{precision}.jsonl")
        for who in ("ours", "warm", "lookup"):
            given = _read(answers / f"{who}-{precision}.jsonl")
            both = greedy.keys() & given.keys()
            equal = sum(greedy[number] == given[number] for number in both)
            found[f"{who}-{precision}"] = {"equal": equal, "of": len(both)}
    return found


def _read(path: Path) -> dict[int, list[int]]:
    return dict(map(json.loads, path.read_text(encoding="utf-8").splitlines()))


if __name__ == "__main__":
    main()
