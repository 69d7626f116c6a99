"""Goals 1 to 3: training against the classic script, TRL and plain PEFT, in turns.

    python -m benchmarks.training FOLDER [--model NAME] [--rounds 5] [--minutes M]

FOLDER is GeoQuery's (`db.sqlite`, `examples.jsonl`). All begin with the same adapter on all layers
and take optimizer steps of 16 examples; peers are given their best of a few settings first, which
is kept. Nobody checkpoints activations but the classic script, whose way it is. A figure is trained
label tokens a second, shown as examples. The peers of a large model take steps of fewer examples,
or a round would last ten minutes: what they do in a second does not depend on it, ours does. Goes
on where it was stopped; writes benchmarks/results/training-NAME.json.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import calling, record
from benchmarks.comparison import Comparison, table
from benchmarks.contest import Contestant, allowance, contest
from benchmarks.heats import Heat, forget_all, play
from benchmarks.precision import native
from benchmarks.training import costs
from benchmarks.training.gradients import difference
from benchmarks.training.material import Material, prepare

BATCH = 16
PEER_BATCH = {"qwen2.5-coder-0.5b": 4}
FIGURE = "labels_per_second"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float)
    options = parser.parse_args()
    left = allowance(options.minutes)
    material = prepare(options.model, options.folder, Path(".tuneyard/bench") / options.model)
    bench = Bench(material, options.model, native())
    tuned = bench.tune(left)
    name = f"training-{options.model}"
    about = {
        "model": options.model,
        "dtype": bench.dtype,
        "batch": BATCH,
        "peer_batch": bench.peer_batch,
    }
    told = about | {"tuned": tuned, "tokens": lengths(material)}
    heats = bench.heats(tuned)
    told = play(name, heats, told, rounds=options.rounds, left=left)
    told["gradients"] = bench.gradients()
    record.write(name, told)
    forget_all(name, heats)
    print(table(told["comparisons"]))
    print(f"gradients against TRL's, relative difference: {told['gradients']}")


class Bench:
    """Contestants on one material, in `dtype` (bf16 or fp32) or on an 8-bit base beside it."""

    def __init__(self, material: Material, model: str, dtype: str) -> None:
        self.material, self.model, self.dtype = material, model, dtype
        self.peer_batch = PEER_BATCH.get(model, BATCH)

    def heats(self, tuned: dict[str, dict[str, Any]]) -> list[Heat]:
        both = (self.dtype, "8bit")
        found = [self._whole_training(precision, tuned["trl"]) for precision in both]
        ours = [self.ours(precision) for precision in both]
        peft = [self.peer("peft", precision, tuned["peft"]) for precision in both]
        found.append(Heat("quantised", ours, lambda _: quantised(self.material, self.dtype)))
        found.append(Heat("peft", [ours[1], *peft], lambda _: plain(self.material, self.dtype)))
        return found

    def _whole_training(self, precision: str, trl: dict[str, Any]) -> Heat:
        players = [
            self.ours(precision),
            self.peer("classic", precision, {}),
            self.peer("trl", precision, trl),
        ]
        return Heat(precision, players, lambda _: whole_trainings(self.material, precision))

    def ours(self, precision: str) -> Contestant:
        told = self.told(precision) | {"micro_batch": BATCH}
        return calling.ours(f"ours-{precision}", "training.ours", told)

    def peer(self, name: str, precision: str, settings: dict[str, Any]) -> Contestant:
        script = {"classic": "classic.py", "trl": "trl_sft.py", "peft": "peft_plain.py"}[name]
        given = self.told(precision) | {"batch": self.peer_batch, "checkpointing": False}
        return calling.peer(
            f"{name}-{precision}", "hf", script, given | settings, tuned=name != "classic"
        )

    def tune(self, left: Callable[[], float]) -> dict[str, dict[str, Any]]:
        """The fastest settings of each peer, not quantised: one turn each. `left`: minutes."""
        best = {}
        trl = trl_settings(self.material, self.peer_batch)
        plain = [{"micro_batch": rows} for rows in sorted({2, 4, self.peer_batch})]
        for name, choices in (("trl", trl), ("peft", plain)):
            kept = Path(f".tuneyard/bench/{self.model}-{name}-tuned.json")
            if not kept.exists():
                kept.write_text(json.dumps(self._fastest(name, choices, left)), encoding="utf-8")
            best[name] = json.loads(kept.read_text(encoding="utf-8"))
        return best

    def _fastest(
        self, name: str, choices: Sequence[dict[str, Any]], left: Callable[[], float]
    ) -> dict[str, Any]:
        speeds = []
        for number, settings in enumerate(choices):
            alone = f"tune-{self.model}-{name}-{number}"
            player = self.peer(name, self.dtype, settings)
            outcome = contest(alone, [player], rounds=1, minutes=left())
            speeds.append(outcome.median(f"{name}-{self.dtype}", FIGURE))
            print(f"{name} {settings}: {speeds[-1]:.1f} labels/s", file=sys.stderr, flush=True)
        return choices[speeds.index(max(speeds))]

    def gradients(self) -> dict[str, Any]:
        path = Path(f".tuneyard/bench/{self.model}/gradients.safetensors").absolute()
        padded = {"packing": False, "length": 2048, "micro_batch": 4, "accumulation": BATCH // 4}
        told = padded | {"gradients": str(path), "max_grad_norm": 0.0}
        return difference(self.ours("fp32"), self.peer("trl", "fp32", told), path)

    def told(self, precision: str) -> dict[str, Any]:
        material = self.material
        return {
            "model": str(material.model),
            "rows": str(material.rows),
            "adapter": str(material.adapter),
            "precision": self.dtype if precision == "8bit" else precision,
            "quantization": "8bit" if precision == "8bit" else "none",
            "batch": BATCH,
            "threads": len(os.sched_getaffinity(0)),
        }


def trl_settings(material: Material, batch: int) -> tuple[dict[str, Any], ...]:
    """Packed rows of two and of four examples, and padded batches of 4 and of all."""

    def packed(examples: int) -> dict[str, Any]:
        length = -(-round(1.1 * examples * (material.prefix + material.own)) // 64) * 64
        steps = batch // examples
        return {"packing": True, "length": length, "micro_batch": 1, "accumulation": steps}

    def padded(rows: int) -> dict[str, Any]:
        steps = batch // rows
        return {"packing": False, "length": 2048, "micro_batch": rows, "accumulation": steps}

    return packed(2), packed(4), *(padded(rows) for rows in sorted({4, batch}))


def whole_trainings(material: Material, precision: str) -> list[Comparison]:
    """Goals 1 and 2."""
    ours, padded, whole = operations(material)
    each = {"figure": FIGURE, "unit": "examples/s", "scale": 1 / material.labels}
    us = f"ours-{precision}"
    return [
        Comparison(1, us, f"classic-{precision}", ideal=padded / ours, aim=12, **each),
        Comparison(2, us, f"trl-{precision}", ideal=whole / ours, aim=8, **each),
    ]


def quantised(material: Material, dtype: str) -> list[Comparison]:
    """Goal 3: what 8 bit costs us."""
    return [Comparison(3, "ours-8bit", f"ours-{dtype}", ideal=1.0, aim=1.15, **step(material))]


def plain(material: Material, dtype: str) -> list[Comparison]:
    """Goal 3: against PEFT on bitsandbytes, and what 8 bit costs that."""
    ours, _, whole = operations(material)
    each = step(material)
    return [
        Comparison(3, "ours-8bit", "peft-8bit", ideal=ours / whole, aim=1.0, **each),
        Comparison(3, "peft-8bit", f"peft-{dtype}", ideal=1.0, **each),
    ]


def step(material: Material) -> dict[str, Any]:
    figure = {"figure": "seconds_a_label", "unit": "s an example"}
    return figure | {"scale": material.labels, "lower": True}


def operations(material: Material) -> tuple[float, float, float]:
    """Of an example: ours, the classic script's, and of rows that share nothing."""
    from transformers import AutoConfig

    sizes = costs.Sizes.of(AutoConfig.from_pretrained(material.model))
    every = (
        costs.ours(material.prefix, material.own, material.labels, BATCH),
        costs.classic(512),
        costs.whole_rows(material.prefix, material.own),
    )
    return tuple(one.operations(sizes) for one in every)


def lengths(material: Material) -> dict[str, float]:
    """Tokens: the shared prefix, a row's own ones behind it, those of them with a label."""
    return {"prefix": material.prefix, "own": material.own, "labels": material.labels}


if __name__ == "__main__":
    main()
