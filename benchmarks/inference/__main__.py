"""Goals 5 to 7: batches of questions against transformers, vLLM and llama.cpp, in turns.

    python -m benchmarks.inference FOLDER [--model NAME] [--rounds 5] [--minutes M] [--peers hf]

FOLDER is GeoQuery's (`db.sqlite`, `examples.jsonl`). A turn is a batch of questions with the schema
in the prompt, greedy; everybody uses the same trained adapter, live or merged. Peers are given
their best number of rows at a time first. Played in heats: all at once would not have room in
memory. Goes on where it was stopped; writes benchmarks/results/inference-NAME.json.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.comparison import Comparison, table
from benchmarks.contest import Contestant, Outcome, allowance, contest
from benchmarks.heats import Heat, forget_all, play
from benchmarks.inference import costs
from benchmarks.inference.contestants import FIGURE, KNOWN, Players
from benchmarks.inference.material import Material, prepare
from benchmarks.training.costs import Sizes

# Questions a turn, and of peers that take no more than so many rows at a time; fewer for these, or
# a round would last a quarter of an hour.
BATCH, PEER_BATCH = 64, 32
ROWS = (16, 32, 64)  # at a time: what transformers and llama-server are tried with
# With 64, transformers takes 15 GB for these prompts, which leaves the others no room; llama-server
# was no faster with them.
MOST_ROWS = {"qwen2.5-coder-0.5b": 32}
HEATS = {
    "adapter": ("ours-adapter", "hf-adapter", "vllm-adapter"),
    "merged": ("ours-merged", "hf-merged", "hf-continuous", "vllm-merged"),
    "8bit": ("ours-8bit", "ours-merged", "hf-8bit", "llama-cpp-python", "llama-server"),
}
HOW = {"adapter": {}, "merged": {"merged": True}, "8bit": {"quantization": "8bit"}}
PEERS = {"hf": "hf", "vllm": "vllm", "llama": "llamacpp"}  # as they are asked for
# Like with like: the adapter live, merged, in 8 bit. Goal, ours, peer, aim; the aim against those
# that compute the prefix with every prompt goes by the ideal.
PAIRS = (
    (5, "ours-adapter", "hf-adapter", None),
    (5, "ours-merged", "hf-merged", None),
    (5, "ours-8bit", "hf-8bit", None),
    (5, "ours-merged", "hf-continuous", None),
    (6, "ours-adapter", "vllm-adapter", 1.0),
    (6, "ours-merged", "vllm-merged", None),
    (7, "ours-8bit", "llama-cpp-python", 3.0),
    (7, "ours-8bit", "llama-server", 1.0),
    (7, "ours-merged", "llama-server", None),
)
WHOLE_PROMPTS = ("hf-adapter", "hf-merged", "hf-8bit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--peers", default=",".join(KNOWN))
    options = parser.parse_args()
    left = allowance(options.minutes)
    material = prepare(options.model, options.folder, Path(".tuneyard/bench") / options.model)
    peers = options.peers.split(",")
    players = Players(material, BATCH, PEER_BATCH)
    tuned = tune(players, options.model, peers, left)
    name = f"inference-{options.model}"
    found = list(heats(players, peers, tuned))
    about = {"model": options.model, "batch": players.batch, "peer_batch": players.peer_batch}
    told = play(name, found, about | {"tuned": tuned}, rounds=options.rounds, left=left)
    forget_all(name, found)
    print(table(told["comparisons"]))


def heats(players: Players, peers: Sequence[str], tuned: dict[str, int]) -> Iterator[Heat]:
    """Those in which one of these peers plays."""
    for heat in HEATS:
        if names := who_plays(heat, peers):
            contestants = [made(name, players, tuned) for name in names]
            yield Heat(heat, contestants, lambda outcome: comparisons(players, outcome))


def who_plays(heat: str, peers: Sequence[str]) -> list[str]:
    """Its contestants, those of other peers left out, and ours that are then compared with none."""
    there = {name for name in HEATS[heat] if PEERS.get(name.split("-")[0]) in (None, *peers)}
    pairs = [{ours, peer} for _, ours, peer, _ in PAIRS if {ours, peer} <= there]
    return [name for name in HEATS[heat] if any(name in pair for pair in pairs)]


def made(name: str, players: Players, tuned: dict[str, int]) -> Contestant:
    who, how = name.split("-")[0], HOW.get(name.split("-")[-1])
    if how is not None:
        if who == "hf":
            return players.hf(name, tuned["hf"], **how)
        return {"ours": players.ours, "vllm": players.vllm}[who](name, **how)
    makers = {
        "hf-continuous": players.continuous,
        "llama-cpp-python": players.llama,
        "llama-server": lambda name: players.llama_server(name, tuned["llamacpp"]),
    }
    return makers[name](name)


def tune(
    players: Players, model: str, peers: Sequence[str], left: Callable[[], float]
) -> dict[str, int]:
    """How many rows at a time serve a peer best: one turn each, found once. `left`: minutes."""
    makers = {
        "hf": lambda name, rows: players.hf(name, rows, merged=True),
        "llamacpp": players.llama_server,
    }
    best = {}
    for peer in makers.keys() & set(peers):
        kept = Path(f".tuneyard/bench/{model}-{peer}-rows.json")
        if not kept.exists():
            speeds = {}
            for rows in (rows for rows in ROWS if rows <= MOST_ROWS.get(model, players.batch)):
                player = makers[peer](f"{peer}-{rows}", rows)
                alone = f"tune-{model}-{player.name}"
                found = contest(alone, [player], rounds=1, minutes=left())
                speeds[rows] = found.median(player.name, FIGURE)
            print(f"{peer}, by rows at a time: {speeds}", file=sys.stderr, flush=True)
            kept.write_text(json.dumps(max(speeds, key=speeds.get)), encoding="utf-8")
        best[peer] = json.loads(kept.read_text(encoding="utf-8"))
    return best


def comparisons(players: Players, outcome: Outcome) -> Iterator[Comparison]:
    """Of those that played. Who caches the prefix, too, saves what ours saves: there the cost model
    sees no difference."""
    whole = ideal(players.material, outcome, players.batch)
    for goal, ours, peer, aim in PAIRS:
        if {ours, peer} <= outcome.rounds.keys():
            best, least = 1.0, aim
            if peer in WHOLE_PROMPTS:
                best, least = whole, max(3.0, 0.75 * whole)
            yield Comparison(goal, ours, peer, FIGURE, "requests/s", ideal=best, aim=least)


def ideal(material: Material, outcome: Outcome, batch: int) -> float:
    """Against a peer that computes the prefix with every prompt; answers as long as those of the
    heat's first contestant, which is ours."""
    from transformers import AutoConfig

    sizes = Sizes.of(AutoConfig.from_pretrained(material.model))
    given = lengths(outcome.median(next(iter(outcome.rounds)), "tokens_a_request"), material)
    whole = costs.whole_prompts(**given).operations(sizes)
    return whole / costs.ours(**given, batch=batch).operations(sizes)


def lengths(answer: float, material: Material) -> dict[str, float]:
    """Tokens: the shared prefix, a question behind it, an answer."""
    return {"prefix": material.prefix, "own": material.own - material.labels, "answer": answer}


if __name__ == "__main__":
    main()
