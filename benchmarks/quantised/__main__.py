"""How a model in 8 bit may answer: speed, memory, accuracy and changed answers side by side.

    python -m benchmarks.quantised FOLDER [--model NAME] [--rounds 3] [--minutes M]

A turn is a batch of GeoQuery's test questions with the schema in the prompt, greedy, the adapter of
goals 5 to 7 live on the base: as the engine does it (weights dequantised), through bitsandbytes'
own int8 products with and without outlier columns apart, not quantised, merged; and transformers on
the same 8-bit base, question by question. Goes on where it was stopped; writes
benchmarks/results/quantised-NAME.json.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.calling import ours, peer
from benchmarks.comparison import Comparison, conclude
from benchmarks.contest import Contestant, contest, forget
from benchmarks.inference.contestants import FIGURE, Players
from benchmarks.inference.material import prepare as inference_material
from benchmarks.quantised.material import Questions, prepare
from benchmarks.quantised.shown import table

FOLDER = Path(".tuneyard/bench")
BATCH = 70  # a turn that does not count and three that do are all of the test questions
ALONE = 16  # of them, for those that take one question at a time

FIRST = "dequantised"
WAYS: dict[str, dict[str, Any]] = {
    FIRST: {"quantization": "8bit"},
    "dequantised-alone": {"quantization": "8bit", "max_rows": 1, "batch": ALONE},
    "int8-threshold-0": {"quantization": "8bit", "threshold": 0.0},
    "int8-threshold-6": {"quantization": "8bit", "threshold": 6.0},
    "not-quantised": {},
    "merged": {"merged": True},
}
PEER = "transformers-alone"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    home = FOLDER / options.model
    material = inference_material(options.model, options.folder, home)
    questions = prepare(material.model, options.folder, home)
    answers = (home / "quantised").absolute()
    answers.mkdir(exist_ok=True)
    name = f"quantised-{options.model}"
    players = list(contestants(Players(material, BATCH), questions, answers))
    outcome = contest(name, players, rounds=options.rounds, minutes=options.minutes)
    told = {
        "model": options.model,
        "dtype": json.loads(players[0].command[-1])["precision"],
        "comparisons": conclude(outcome, compared()),
        "answers": judged(options.folder, material.model, questions, answers),
        **asdict(outcome),
    }
    record.write(name, told)
    forget(name)
    for path in answers.glob("*.jsonl"):  # contestants add to them, also in a run that goes on
        path.unlink()
    print(table(told))


def contestants(players: Players, questions: Questions, answers: Path) -> Iterator[Contestant]:
    def told(name: str, quantization: str = "none", merged: bool = False, **more) -> dict[str, Any]:
        file = {"prompts": str(questions.prompts), "answers": str(answers / f"{name}.jsonl")}
        return players.told(quantization, merged=merged) | file | more

    for name, way in WAYS.items():
        yield ours(
            name, "quantised.ours", {"max_rows": None, "threshold": None} | told(name, **way)
        )
    alone = told(PEER, "8bit", batch=ALONE, lookup=0, warm=False)
    yield peer(PEER, "hf", "hf_latency.py", alone)


def compared() -> Iterator[Comparison]:
    """The engine's way over each other one."""
    for way in (*WAYS, PEER):
        yield Comparison(0, FIRST, way, FIGURE, "requests/s")


def judged(
    data: Path, model: Path, questions: Questions, answers: Path
) -> dict[str, dict[str, Any]]:
    """For each way, of the questions it was asked: how many right, how many SQL that does not run,
    and how many answers are, to the last token, those of the other ways that had them."""
    from transformers import AutoTokenizer

    from core.sql.judge import judge
    from core.sql.target import open_target

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    given = {name: _read(answers / f"{name}.jsonl") for name in (*WAYS, PEER)}
    found = {}
    with open_target(data / "db.sqlite", None, scratch=answers) as runner:
        for name, said in given.items():
            verdicts = [
                judge(runner, gold_sql=questions.gold[number], answer=tokenizer.decode(tokens))
                for number, tokens in said.items()
            ]
            found[name] = {
                "asked": len(said),
                "right": sum(one.correct for one in verdicts),
                "invalid": sum(not one.executes for one in verdicts),
                "equal": {other: _equal(said, theirs) for other, theirs in given.items()},
            }
    return found


def _equal(one: dict[int, list[int]], other: dict[int, list[int]]) -> dict[str, int]:
    both = one.keys() & other.keys()
    return {"equal": sum(one[number] == other[number] for number in both), "of": len(both)}


def _read(answers: Path) -> dict[int, list[int]]:
    return dict(map(json.loads, answers.read_text(encoding="utf-8").splitlines()))


if __name__ == "__main__":
    main()
