"""docs/performance.md and its plots, from benchmarks/results/*.json and from nothing else.

    python -m benchmarks.page

Knows how results are laid out, and no benchmark. A goal without a result says so.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import record
from benchmarks.accuracy import table as accuracy
from benchmarks.api import shown as api
from benchmarks.comparison import COLUMNS, cells, markdown
from benchmarks.growth.axes import PEER_PREFIX
from benchmarks.growth.plots import plots as growth_plots
from benchmarks.profiles import shown as profiles
from benchmarks.quantised import shown as quantised
from benchmarks.serve import shown as serve
from benchmarks.tried import shown as tried

Found = Mapping[tuple[str, str], dict[str, Any]]  # by benchmark and model, or database
DOCS = Path(__file__).parent.parent / "docs"
MODELS = ("smollm2-135m", "qwen2.5-coder-0.5b")
BENCHES = (
    *("training", "tried", "memory", "inference", "quantised", "adapters", "latency", "profiles"),
    *("growth", "accuracy", "serve"),
)
DATABASES = ("sqlite", "postgresql")
GOALS = {
    1: ("training examples/s against the classic script", "training"),
    2: ("training examples/s against TRL", "training"),
    3: ("an 8-bit step against one that is not; against peft + bitsandbytes", "training"),
    4: ("weights against peft bf16; growth while training against the classic script", "memory"),
    5: ("requests/s of a batch against transformers", "inference"),
    6: ("requests/s of a batch against vLLM", "inference"),
    7: ("requests/s of a batch against llama.cpp, 8 bit", "inference"),
    8: ("16 adapters in a batch against one; against PEFT", "adapters"),
    9: ("one warm request against transformers", "latency"),
    10: ("execution accuracy on GeoQuery", "accuracy"),
}
NOT_YET = "not measured yet"
HEAD = """# Performance

`make bench-page` writes this page from the JSON in `benchmarks/results/`; no figure in it is typed.
`make bench` measures everything again, `make bench-NAME` one part: {names}.
Each goes on where it was stopped.

In a row both sides did the same work in turns (A B A B …) on the same machine, with the same
weights, number of threads and dtype: bf16 where the CPU computes in it, else fp32. A ratio is the
median of the rounds' own ratios; the spread, the lowest and the highest of them, with the number of
rounds. The ideal is what the products with weights alone would give
(`benchmarks/training/costs.py`, `benchmarks/inference/costs.py`): 1.00 where the peer saves the
same work; none for goal 4's growth and goal 9, where other things than products decide. Where a
round takes minutes there are three instead of five. The aims are those of [GOALS.md](GOALS.md).
Goal 9 is measured in process; ours drafts, as a server of a trained model does, from what it
answered to other questions before in the same contest. What clients see over HTTP stands further
below.

Peers are installed from packages into environments of their own (`benchmarks/peers/requirements/`),
have our settings of malloc (the classic script is as tutorials have it; figures of goals 8 and 9
from before commit e28cfee are without them) and are given their best settings first: TRL its
packing, PEFT its micro-batch, both bf16 autocast; transformers and llama-server their rows at a
time; vLLM 512 tokens a step. Of `qwen2.5-coder-0.5b` the peers of goals 1 to 3 take steps of 4
examples, ours of 16 (what they do in a second does not depend on it), and PEFT in goal 8 and
transformers in goal 5 take at most 32 rows at a time: with 64 they take more memory than 24 GiB
leave the others. llama.cpp is built for the machine's own instructions from the sources inside
`llama-cpp-python`, but for its AMX kernels, which end in an illegal instruction; its model is the
merged one in Q8_0. The prefix caches of vLLM and llama.cpp stay warm from turn to turn; ours begins
each turn of goals 5 to 7 without one. vLLM runs eagerly: on a CPU it compiles nothing where LoRA is
on (its `platforms/cpu.py`). TRL's adapter on an 8-bit base is kept in fp32 where the CPU does not
compute in bf16.
"""

MEMORY = """Weights are those of bases loaded in bf16. The growth is that of anonymous memory in a
few steps of the trainings above, in {dtype} (the classic script in fp32), over what there was
before the first of them."""

GROWTH = """Prefixes longer than {prefix:,} tokens are ours alone: a step of the peer would last
minutes, and take, beside ours, what a machine of 24 GiB has. In training PEFT takes two examples
at a time whatever the group (its memory grows with their lengths only), ours the whole group. A
point that is missing was not measured."""

API = """The bare FastAPI runs the same queries on the same database, and nothing else: no key, no
scope, no log, no idempotency (`benchmarks/api/bare.py`). Each is one process of
uvicorn. What grows is compared from the last size but one to the last: 1 is linear."""

ESTIMATES = """`POST /v1/estimates` on the demo's pairs, after one training of one epoch had been
measured on this machine (`python -m benchmarks.estimates`). Aim: within 30 % of the attempt's
time."""


def main() -> None:
    page, plots = render(results())
    (DOCS / "performance.md").write_text(page, encoding="utf-8")
    folder = DOCS / "performance"
    folder.mkdir(exist_ok=True)
    for name, svg in plots.items():
        (folder / name).write_text(svg, encoding="utf-8")


def results(folder: Path = record.RESULTS) -> Found:
    """What was recorded."""
    found = {}
    wanted = [(bench, model) for bench in (*BENCHES, "estimates") for model in MODELS]
    for bench, subject in [*wanted, *(("api", database) for database in DATABASES)]:
        # Of goal 10 also trainings with other numbers of epochs than the product chooses.
        for path in sorted(folder.glob(f"{bench}-{subject}*.json")):
            name = path.stem.removeprefix(f"{bench}-")
            found[bench, name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def render(found: Found) -> tuple[str, dict[str, str]]:
    """The page, and the plots by file name."""
    grown = dict(drawn(found, "growth", growth_plots))
    served = dict(drawn(found, "serve", serve.plots))
    edge = dict(drawn(found, "api", api.plots))
    parts = [HEAD.format(names=", ".join(f"`{bench}`" for bench in (*BENCHES, "api")))]
    for goal, (title, bench) in GOALS.items():
        parts.append(f"## {goal}. {title}\n\n{goal_section(found, goal, bench)}\n")
    parts.append(f"## Where the time goes\n\n{shown(found, 'profiles', profiles)}\n")
    parts.append(f"## What was tried for a training step\n\n{shown(found, 'tried', tried)}\n")
    title = "How a model in 8 bit may answer"
    parts.append(f"## {title}\n\n{shown(found, 'quantised', quantised)}\n")
    parts.append(f"## Chat over HTTP, under load\n\n{under_load(found, served)}\n")
    title = "14 and 16. The API beside a bare FastAPI, and what grows"
    parts.append(f"## {title}\n\n{api_section(found, edge)}\n")
    parts.append(f"## What estimates said, and what then happened\n\n{estimated(found)}\n")
    parts.append(f"## How time and memory grow\n\n{growing(grown)}\n")
    parts.append(f"## Runs\n\n{runs(found) or NOT_YET}\n")
    return "\n".join(parts), grown | served | edge


def drawn(found: Found, bench: str, plots: Callable) -> Iterator[tuple[str, str]]:
    """File name and SVG of what a benchmark has to draw."""
    for name, subject in found:
        if name == bench:
            yield from plots(found[name, subject])


def images(plots: Mapping[str, str]) -> str:
    return "\n".join(f"![{name}](performance/{name})" for name in plots)


def growing(plots: Mapping[str, str]) -> str:
    return f"{GROWTH.format(prefix=PEER_PREFIX)}\n\n{images(plots)}" if plots else NOT_YET


def shown(found: Found, bench: str, how: ModuleType) -> str:
    """What a benchmark says of itself, and of each model."""
    told = [how.section(found[bench, model]) for model in MODELS if (bench, model) in found]
    return "\n\n".join([how.ABOUT, *told]) if told else NOT_YET


def under_load(found: Found, plots: Mapping[str, str]) -> str:
    told = [serve.section(found["serve", model]) for model in MODELS if ("serve", model) in found]
    return "\n\n".join([*told, images(plots)]) if told else NOT_YET


def api_section(found: Found, plots: Mapping[str, str]) -> str:
    told = [api.section(found["api", one]) for one in DATABASES if ("api", one) in found]
    return "\n\n".join([API, *told, images(plots)]) if told else NOT_YET


def estimated(found: Found) -> str:
    rows = [("model", "training", "steps said", "done", "s said", "s it took", "share", "within")]
    for model in MODELS:
        for name, one in found.get(("estimates", model), {}).get("trainings", {}).items():
            steps, seconds = map(str, one["steps"]), (f"{one:.0f}" for one in one["seconds"])
            verdict = f"{one['of_what_happened']:.2f}", "yes" if one["within"] else "no"
            rows.append((model, name, *steps, *seconds, *verdict))
    return f"{ESTIMATES}\n\n{markdown(rows)}" if len(rows) > 1 else NOT_YET


def goal_section(found: Found, goal: int, bench: str) -> str:
    if goal == 10:
        return accuracies(found)
    rows: list[tuple[str, ...]] = [("model", *COLUMNS)]
    for model in MODELS:
        measured = found.get((bench, model), {}).get("comparisons", [])
        some = [(model, *cells(row)) for row in measured if row["goal"] == goal]
        rows += some or [(model, NOT_YET, *[""] * (len(COLUMNS) - 1))]
    parts = [markdown(rows)]
    for model in MODELS:
        if goal == 2 and (figures := found.get(("training", model), {}).get("gradients")):
            parts.append(gradients(model, figures))
        if goal == 4 and (figures := found.get(("memory", model))):
            parts.append(f"{model}: {MEMORY.format(dtype=figures['dtype'])}")
        if goal == 9 and (figures := found.get(("latency", model))):
            parts.append(answers(model, figures))
    return "\n\n".join(parts)


def gradients(model: str, figures: dict[str, Any]) -> str:
    return (
        f"{model}: in fp32 the gradient of one step differs from TRL's by {figures['whole']:.1e} "
        f"of its norm, in the worst of {figures['tensors']} tensors by {figures['worst']:.1e}."
    )


def answers(model: str, figures: dict[str, Any]) -> str:
    """Goal 9: seconds, and which answers are transformers' own to the last token."""
    rows = [("contestant", "s a request", "answers equal to greedy")]
    for name, seconds in figures["seconds"].items():
        same = figures["identical"].get(name)
        rows.append((name, f"{seconds:.2f}", f"{same['equal']} of {same['of']}" if same else ""))
    return f"{model}:\n\n{markdown(rows)}"


def accuracies(found: Found) -> str:
    parts = []
    for model in MODELS:
        told = [one for (bench, _), one in found.items() if bench == "accuracy"]
        told = [one for one in told if one["model"] == model]
        parts += [f"{_asked(one)}:\n\n{accuracy.table(one)}" for one in told]
        if not told:
            parts.append(f"{model}: {NOT_YET}")
    return "\n\n".join(parts)


def _asked(figures: dict[str, Any]) -> str:
    """Which model, how long it was trained, and what it was asked."""
    epochs = f" trained for {figures['epochs']:g} epochs" if figures["epochs"] else ""
    questions = figures["accuracies"][0]["questions"]
    aim = f"; the aim is {figures['aim']:.0%}" if figures["aim"] else ""
    return (
        f"{figures['model']}{epochs}, {questions} questions of the split `{figures['split']}`{aim}"
    )


def runs(found: Found) -> str:
    """Where, when and with which versions each was measured."""
    rows = [("benchmark", "of", "machine", "versions", "commit", "date")]
    for (bench, model), figures in found.items():
        where = record.place(figures["machine"])
        rows.append((bench, model, where, versions(figures), figures["commit"], figures["date"]))
    return markdown(rows) if len(rows) > 1 else ""


def versions(figures: dict[str, Any]) -> str:
    """Ours and those of all contestants, each once."""
    told = [about["versions"] for about in figures.get("about", {}).values()]
    every = [figures["versions"], *told]
    named = {f"{name} {number}" for one in every for name, number in one.items()}
    return ", ".join(sorted(named))


if __name__ == "__main__":
    main()
