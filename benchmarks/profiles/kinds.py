"""What kind of work the events of a profile are: by the autograd node or the marked function that
they are part of, else by their own names and shapes. Knows torch's names for operators, no model.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
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


@dataclass(slots=True)
class Span:
    """A call: nanoseconds, the shapes of what it was given, those it is part of (`whole`) and what
    of its time is its parts'."""

    name: str
    start: int
    end: int
    shapes: list[list[int]]
    whole: "Span | None" = None
    inner: int = 0


def spans(events: Iterable[Any]) -> Iterator[Span]:
    """Of Kineto's events, which come in no order; `torch.profiler`'s own list of them takes minutes
    for a batch."""
    calls: dict[int, list[Span]] = {}
    for event in events:
        start, name = event.start_ns(), event.name().split("#")[0].removesuffix("Backward")
        one = Span(name, start, start + event.duration_ns(), event.shapes())
        calls.setdefault(event.start_thread_id(), []).append(one)
    for thread in calls.values():
        open_: list[Span] = []
        for one in sorted(thread, key=lambda call: (call.start, -call.end)):
            while open_ and open_[-1].end <= one.start:
                open_.pop()
            if open_:
                one.whole = open_[-1]
                one.whole.inner += one.end - one.start
            open_.append(one)
        yield from thread


def seconds_by_kind(
    calls: Iterable[Span], *, narrow: int, weights: Collection[tuple[int, ...]]
) -> Counter[str]:
    """`narrow`: no side of a base's product in training is as small; `weights`: shapes of the
    base's matrices."""
    found: Counter[str] = Counter()
    for call in calls:
        found[kind_of(call, narrow, weights)] += (call.end - call.start - call.inner) / 1e9
    return found


def kind_of(call: Span, narrow: int, weights: Collection[tuple[int, ...]]) -> str:
    names = [*_names(call)]
    for name in names:
        if name in PARTS:
            return PARTS[name]
    in_node = any(name in LINEAR_NODES for name in names)
    if call.name in PRODUCTS:
        sides = [side for shape in call.shapes for side in shape]
        return ADAPTERS if in_node and min(sides) <= narrow else BASE
    first = tuple(call.shapes[0]) if call.shapes else ()
    return DENSE if in_node and first in weights else REST


def _names(call: Span | None) -> Iterator[str]:
    """Its own and those of what it is part of, innermost first."""
    while call is not None:
        yield call.name
        call = call.whole
