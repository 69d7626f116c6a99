"""Goals 5 to 7: batches of questions against transformers, vLLM and llama.cpp, in turns.

    python -m benchmarks.inference FOLDER [--model NAME] [--rounds 5] [--minutes M] [--peers hf]

FOLDER is GeoQuery's (`db.sqlite`, `examples.jsonl`). A turn is 64 questions with the schema in the
prompt, greedy; everybody uses the same trained adapter, ours live. Goes on where it was stopped;
writes benchmarks/results/inference-NAME.json.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.contest import Contestant, Outcome, contest, forget
from benchmarks.inference import costs
from benchmarks.inference.material import MAX_NEW_TOKENS, Material, prepare
from benchmarks.peers.environments import python_of
from benchmarks.training.costs import Sizes

PEERS = Path(__file__).parent.parent / "peers"
BATCH = 64
FIGURE = "requests_per_second"
ROWS = (16, 32, 64)  # which transformers may take at a time
KNOWN = ("hf", "vllm", "llamacpp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--peers", default=",".join(KNOWN))
    options = parser.parse_args()
    material = prepare(options.model, options.folder, Path(".tuneyard/bench") / options.model)
    bench = Bench(material, options.model)
    peers = options.peers.split(",")
    rows = bench.best_rows() if "hf" in peers else 0
    name = f"inference-{options.model}"
    players = bench.contestants(peers, rows)
    outcome = contest(name, players, rounds=options.rounds, minutes=options.minutes)
    record.write(name, conclude(material, rows, outcome))
    forget(name)
    print(table(json.loads((record.RESULTS / f"{name}.json").read_text(encoding="utf-8"))))


class Bench:
    def __init__(self, material: Material, model: str) -> None:
        self.material, self.model = material, model

    def contestants(self, peers: Sequence[str], rows: int) -> list[Contestant]:
        players = [self.ours("ours-bf16", "none"), self.ours("ours-8bit", "8bit")]
        players.append(self.ours("ours-merged", "none", merged=True))
        if "hf" in peers:
            players += [
                self.hf("hf-adapter", rows, "none"),
                self.hf("hf-merged", rows, "none", merged=True),
                self.hf("hf-8bit", rows, "8bit"),
            ]
        if "vllm" in peers:
            players.append(self.peer("vllm", "vllm", "vllm_cpu.py"))
        if "llamacpp" in peers:
            players.append(self.peer("llamacpp", "llamacpp", "llama_cpp_python.py"))
            players.append(self.peer("llama-server", "llamacpp", "llama_server.py"))
        return players

    def best_rows(self) -> int:
        """How many rows at a time serve transformers best, merged in bf16; found once."""
        kept = Path(f".tuneyard/bench/{self.model}-hf-rows.json")
        if not kept.exists():
            speeds = {}
            for rows in ROWS:
                player = self.hf(f"rows-{rows}", rows, "none", merged=True)
                found = contest(f"tune-{self.model}-rows-{rows}", [player], rounds=1)
                speeds[rows] = found.median(player.name, FIGURE)
            print(f"transformers, by rows at a time: {speeds}", file=sys.stderr)
            kept.write_text(json.dumps(max(speeds, key=speeds.get)), encoding="utf-8")
        return json.loads(kept.read_text(encoding="utf-8"))

    def ours(self, name: str, quantization: str, *, merged: bool = False) -> Contestant:
        told = json.dumps(self._told(quantization, merged))
        return Contestant(name, (sys.executable, "-m", "benchmarks.inference.ours", told))

    def hf(self, name: str, rows: int, quantization: str, *, merged: bool = False) -> Contestant:
        told = json.dumps(self._told(quantization, merged) | {"rows": rows})
        return Contestant(name, (str(python_of("hf")), str(PEERS / "hf_generate.py"), told))

    def peer(self, name: str, environment: str, script: str) -> Contestant:
        told = json.dumps(self._told("none", False) | {"merged": str(self.material.merged)})
        return Contestant(name, (str(python_of(environment)), str(PEERS / script), told))

    def _told(self, quantization: str, merged: bool) -> dict[str, Any]:
        from transformers import AutoTokenizer

        from workers.ml.prompts import end_token_ids

        material = self.material
        tokenizer = AutoTokenizer.from_pretrained(material.model)
        return {
            "model": str(material.merged if merged else material.model),
            "adapter": None if merged else str(material.adapter),
            "prompts": str(material.prompts),
            "precision": "bf16",
            "quantization": quantization,
            "batch": BATCH,
            "max_new_tokens": MAX_NEW_TOKENS,
            "ends": sorted(end_token_ids(tokenizer)),
            "threads": len(os.sched_getaffinity(0)),
        }


def conclude(material: Material, rows: int, outcome: Outcome) -> dict[str, Any]:
    from transformers import AutoConfig

    sizes = Sizes.of(AutoConfig.from_pretrained(material.model))
    answer = outcome.median("ours-bf16", "tokens_a_request")
    ideal = costs.whole_prompts(material.prefix, material.own - material.labels, answer)
    ideal = ideal.operations(sizes) / costs.ours(
        material.prefix, material.own - material.labels, answer, BATCH
    ).operations(sizes)
    peers = [name for name in outcome.rounds if not name.startswith("ours")]
    return {
        "batch": BATCH,
        "prefix": material.prefix,
        "question": material.own - material.labels,
        "answer": answer,
        "hf_rows": rows,
        "ideal_without_shared_prefix": ideal,
        "comparisons": [
            comparison(outcome, ours, peer)
            for peer in peers
            for ours in ("ours-bf16", "ours-8bit", "ours-merged")
        ],
        "about": outcome.about,
        "rounds": outcome.rounds,
    }


def comparison(outcome: Outcome, ours: str, theirs: str) -> dict[str, Any]:
    return {
        "ours": ours,
        "peer": theirs,
        "ours_per_second": outcome.median(ours, FIGURE),
        "peer_per_second": outcome.median(theirs, FIGURE),
        "ratio": outcome.ratio(ours, theirs, FIGURE),
        "peer_tokens": outcome.median(theirs, "tokens_a_request"),
    }


def table(figures: dict[str, Any]) -> str:
    lines = ["| ours | peer | requests/s | peer's | ratio | spread |", "|---|---|---|---|---|---|"]
    for row in figures["comparisons"]:
        ratio = row["ratio"]
        lines.append(
            f"| {row['ours']} | {row['peer']} | {row['ours_per_second']:.2f} "
            f"| {row['peer_per_second']:.2f} | {ratio['median']:.2f} "
            f"| {ratio['lowest']:.2f} to {ratio['highest']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
