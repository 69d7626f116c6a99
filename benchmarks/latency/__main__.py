"""Goal 9, in process: one warm question to its last token, against transformers' greedy decoding
and its prompt lookup, in turns; and how many answers are equal to the last token.

    python -m benchmarks.latency FOLDER [--model NAME] [--rounds 5] [--minutes M]

A turn is a few of GeoQuery's questions, one after the other, with the schema in the prompt and the
adapter merged. Goes on where it was stopped; writes benchmarks/results/latency-NAME.json.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks import record
from benchmarks.comparison import Comparison, conclude, table
from benchmarks.contest import Contestant, contest, forget
from benchmarks.inference.contestants import PEERS, Players
from benchmarks.inference.material import prepare
from benchmarks.peers.environments import python_of
from benchmarks.precision import native

QUESTIONS = 4  # a turn
LOOKUP = 10  # tokens, as transformers' documentation has it
PRECISIONS = ("bf16", "fp32")
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
    print(table(rows))
    print(f"seconds a request: {about['seconds']}")
    print(f"equal to transformers' greedy answers: {about['identical']}")


def contestants(told: dict, answers: Path) -> Iterator[Contestant]:
    for precision in PRECISIONS:

        def settings(name: str, precision=precision, **more) -> str:
            file = str(answers / f"{name}-{precision}.jsonl")
            return json.dumps(told | {"precision": precision, "answers": file} | more)

        peer = (str(python_of("hf")), str(PEERS / "hf_latency.py"))
        ours = (sys.executable, "-m", "benchmarks.latency.ours", settings("ours"))
        yield Contestant(f"ours-{precision}", ours)
        yield Contestant(f"greedy-{precision}", (*peer, settings("greedy", lookup=0)))
        yield Contestant(f"lookup-{precision}", (*peer, settings("lookup", lookup=LOOKUP)))


def comparisons() -> Iterator[Comparison]:
    each = {"figure": "requests_per_second", "unit": "requests/s, one at a time"}
    for precision in PRECISIONS:
        ours, goal = f"ours-{precision}", precision == native()
        yield Comparison(9, ours, f"greedy-{precision}", aim=1.6 if goal else None, **each)
        yield Comparison(9, ours, f"lookup-{precision}", aim=1.1 if goal else None, **each)


def identical(answers: Path) -> dict[str, dict[str, int]]:
    """For each precision, how many answers of ours and of the peer's lookup are those of its greedy
    decoding, of how many that both gave."""
    found = {}
    for precision in PRECISIONS:
        greedy = _read(answers / f"greedy-{precision}.jsonl")
        for who in ("ours", "lookup"):
            given = _read(answers / f"{who}-{precision}.jsonl")
            both = greedy.keys() & given.keys()
            equal = sum(greedy[number] == given[number] for number in both)
            found[f"{who}-{precision}"] = {"equal": equal, "of": len(both)}
    return found


def _read(path: Path) -> dict[int, list[int]]:
    return dict(map(json.loads, path.read_text(encoding="utf-8").splitlines()))


if __name__ == "__main__":
    main()
