"""Where the time of a training step goes, and that of a batch over one adapter and over many.

    python -m benchmarks.profiles FOLDER [--model NAME] [--rounds 3] [--minutes M]

Explains goals 1 and 8, and compares with nobody. Goes on where it was stopped; writes
benchmarks/results/profiles-NAME.json.
"""

import argparse
from pathlib import Path

from benchmarks.adapters.__main__ import ADAPTERS, BATCH
from benchmarks.adapters.material import make_adapters
from benchmarks.calling import ours
from benchmarks.contest import Contestant, allowance
from benchmarks.heats import Heat, forget_all, play
from benchmarks.inference.contestants import Players
from benchmarks.inference.material import Material
from benchmarks.inference.material import prepare as inference_material
from benchmarks.precision import native
from benchmarks.profiles.shown import table
from benchmarks.training.__main__ import BATCH as EXAMPLES
from benchmarks.training.__main__ import Bench
from benchmarks.training.material import prepare

FOLDER = Path(".tuneyard/bench")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    home = FOLDER / options.model
    bench = Bench(prepare(options.model, options.folder, home), options.model, native())
    asked = inference_material(options.model, options.folder, home)
    name = f"profiles-{options.model}"
    found = [
        Heat("training", steps(bench), lambda _: ()),
        Heat("batch", batches(asked, home), lambda _: ()),
    ]
    about = {"model": options.model, "dtype": bench.dtype}
    told = play(name, found, about, rounds=options.rounds, left=allowance(options.minutes))
    forget_all(name, found)
    print(table(told))


def steps(bench: Bench) -> list[Contestant]:
    return [
        ours(
            f"step-{precision}", "profiles.work", bench.told(precision) | {"micro_batch": EXAMPLES}
        )
        for precision in ("8bit", bench.dtype)
    ]


def batches(material: Material, home: Path) -> list[Contestant]:
    adapters = list(map(str, make_adapters(material.adapter, home / "adapters", ADAPTERS)))
    told = Players(material, BATCH).told("none", merged=False)
    return [
        ours(f"batch-{count}", "profiles.work", told | {"adapters": adapters[:count]})
        for count in (1, ADAPTERS)
    ]


if __name__ == "__main__":
    main()
