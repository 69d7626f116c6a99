"""Goals 5 to 7: batches of questions against transformers, vLLM and llama.cpp, in turns.

    python -m benchmarks.inference FOLDER [--model NAME] [--rounds 5] [--minutes M] [--peers hf]

FOLDER is GeoQuery's (`db.sqlite`, `examples.jsonl`). A turn is a batch of questions with the schema
in the prompt, greedy; everybody uses the same trained adapter, live or merged. Peers are given
their best number of rows at a time first. Goes on where it was stopped; writes
benchmarks/results/inference-NAME.json.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import record
from benchmarks.comparison import Comparison, conclude, table
from benchmarks.contest import Contestant, Outcome, contest, forget
from benchmarks.inference import costs
from benchmarks.inference.contestants import FIGURE, KNOWN, Players
from benchmarks.inference.material import Material, prepare
from benchmarks.training.costs import Sizes

# Questions a turn, and of peers that take no more than so many rows at a time; fewer for a large
# model, or a round would last a quarter of an hour.
BATCHES = {"smollm2-135m": (64, 32), "qwen2.5-coder-0.5b": (32, 16)}
ROWS = (16, 32, 64)  # at a time: what transformers and llama-server are tried with


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--peers", default=",".join(KNOWN))
    options = parser.parse_args()
    material = prepare(options.model, options.folder, Path(".tuneyard/bench") / options.model)
    peers = options.peers.split(",")
    players = Players(material, *BATCHES.get(options.model, (64, 64)))
    tuned = tune(players, options.model, peers)
    name = f"inference-{options.model}"
    contestants = chosen(players, peers, tuned)
    outcome = contest(name, contestants, rounds=options.rounds, minutes=options.minutes)
    rows = conclude(outcome, comparisons(material, outcome, players.batch))
    about = {"model": options.model, "batch": players.batch, "peer_batch": players.peer_batch}
    about["tuned"] = tuned
    about["tokens"] = lengths(outcome.median("ours-adapter", "tokens_a_request"), material)
    record.write(name, about | {"comparisons": rows, **asdict(outcome)})
    forget(name)
    print(table(rows))


def chosen(players: Players, peers: Sequence[str], tuned: dict[str, int]) -> list[Contestant]:
    found = [
        players.ours("ours-adapter"),
        players.ours("ours-8bit", quantization="8bit"),
        players.ours("ours-merged", merged=True),
    ]
    if "hf" in peers:
        found += [
            players.hf("hf-adapter", tuned["hf"]),
            players.hf("hf-merged", tuned["hf"], merged=True),
            players.hf("hf-8bit", tuned["hf"], quantization="8bit"),
            players.continuous("hf-continuous"),
        ]
    if "vllm" in peers:
        found.append(players.vllm("vllm"))
    if "llamacpp" in peers:
        found.append(players.llama("llama-cpp-python"))
        found.append(players.llama_server("llama-server", tuned["llamacpp"]))
    return found


def tune(players: Players, model: str, peers: Sequence[str]) -> dict[str, int]:
    """How many rows at a time serve a peer best: one turn each, found once."""
    makers = {
        "hf": lambda name, rows: players.hf(name, rows, merged=True),
        "llamacpp": players.llama_server,
    }
    best = {}
    for peer in makers.keys() & set(peers):
        kept = Path(f".tuneyard/bench/{model}-{peer}-rows.json")
        if not kept.exists():
            speeds = {}
            for rows in (rows for rows in ROWS if rows <= players.batch):
                player = makers[peer](f"{peer}-{rows}", rows)
                found = contest(f"tune-{model}-{player.name}", [player], rounds=1)
                speeds[rows] = found.median(player.name, FIGURE)
            print(f"{peer}, by rows at a time: {speeds}", file=sys.stderr, flush=True)
            kept.write_text(json.dumps(max(speeds, key=speeds.get)), encoding="utf-8")
        best[peer] = json.loads(kept.read_text(encoding="utf-8"))
    return best


def comparisons(material: Material, outcome: Outcome, batch: int) -> Iterator[Comparison]:
    """Like with like: the adapter live, merged, in 8 bit. Who caches the prefix, too, saves what
    ours saves: there the cost model sees no difference."""
    whole = ideal(material, outcome, batch)
    wanted = [
        (5, "ours-adapter", "hf-adapter", whole, max(3.0, 0.75 * whole)),
        (5, "ours-merged", "hf-merged", whole, max(3.0, 0.75 * whole)),
        (5, "ours-8bit", "hf-8bit", whole, max(3.0, 0.75 * whole)),
        (5, "ours-merged", "hf-continuous", 1.0, None),
        (6, "ours-adapter", "vllm", 1.0, 1.0),
        (7, "ours-8bit", "llama-cpp-python", 1.0, 3.0),
        (7, "ours-8bit", "llama-server", 1.0, 1.0),
        (7, "ours-merged", "llama-server", 1.0, None),
    ]
    for goal, ours, peer, best, aim in wanted:
        if peer in outcome.rounds:
            yield Comparison(goal, ours, peer, FIGURE, "requests/s", ideal=best, aim=aim)


def ideal(material: Material, outcome: Outcome, batch: int) -> float:
    """Against a peer that computes the prefix with every prompt."""
    from transformers import AutoConfig

    sizes = Sizes.of(AutoConfig.from_pretrained(material.model))
    given = lengths(outcome.median("ours-adapter", "tokens_a_request"), material)
    whole = costs.whole_prompts(**given).operations(sizes)
    return whole / costs.ours(**given, batch=batch).operations(sizes)


def lengths(answer: float, material: Material) -> dict[str, float]:
    """Tokens: the shared prefix, a question behind it, an answer."""
    return {"prefix": material.prefix, "own": material.own - material.labels, "answer": answer}


if __name__ == "__main__":
    main()
