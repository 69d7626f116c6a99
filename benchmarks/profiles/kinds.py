"""What kind of work the events of a profile are: by the autograd node or the marked function that
they are part of, else by their own names and shapes. Knows torch's names for operators, no model.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

BASE, ADAPTERS, ATTENTION = "base's products", "adapters' products", "attention"
HEAD, DENSE, NORMS, OPTIMIZER = "head, loss", "weights made dense", "norms", "optimizer"
REST = "rest"
KINDS = (BASE, ADAPTERS, ATTENTION, HEAD, DENSE, NORMS, OPTIMIZER, REST)

# Nodes of `workers.ml` (forward and backward), torch's own mark, and what `work.py` marks.
PARTS = {
    "PackedAttention": ATTENTION,
    "HeadLoss": HEAD,
    "Norm": NORMS,
    "Optimizer.step": OPTIMIZER,
    ATTENTION: ATTENTION,
    ADAPTERS: ADAPTERS,
    HEAD: HEAD,
}
LINEAR_NODES = ("LoraLinears", "GatedLinear")
PRODUCTS = {
    *("aten::mm", "aten::addmm", "aten::addmm_", "aten::_weight_int8pack_mm"),
    *("mkldnn::_linear_pointwise", "quantized::linear_dynamic_fp16"),
}


def seconds_by_kind(
    events: Iterable[Any], *, narrow: int, weights: Collection[tuple[int, ...]]
) -> Counter[str]:
    """Of `torch.profiler`'s events with shapes. `narrow`: no side of a base's product in training
    is as small; `weights`: shapes of the base's matrices."""
    found: Counter[str] = Counter()
    for event in events:
        found[kind_of(event, narrow, weights)] += event.self_cpu_time_total / 1e6
    return found


def kind_of(event: Any, narrow: int, weights: Collection[tuple[int, ...]]) -> str:
    names = [*_names(event)]
    for name in names:
        if name in PARTS:
            return PARTS[name]
    in_node = any(name in LINEAR_NODES for name in names)
    if event.name in PRODUCTS:
        sides = [side for shape in event.input_shapes for side in shape]
        return ADAPTERS if in_node and min(sides) <= narrow else BASE
    return DENSE if in_node and _first(event.input_shapes) in weights else REST


def _names(event: Any) -> Iterator[str]:
    """Its own and those of what it is part of, innermost first."""
    while event is not None:
        yield event.name.split("#")[0].removesuffix("Backward")
        event = event.cpu_parent


def _first(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(shapes[0]) if shapes else ()
