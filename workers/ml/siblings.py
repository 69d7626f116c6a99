"""Linear layers of a model that have one input. Knows the names that models give them; computes
nothing itself."""

from collections.abc import Callable, Container, Iterable, Iterator

from torch import Tensor, nn

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # usually with one input


def linear_layers(model: nn.Module) -> Iterator[nn.Module]:
    """What stands for a linear layer: a PEFT layer around one, else itself."""
    inner: set[nn.Module] = set()
    for module in model.modules():
        if module in inner:
            continue
        if hasattr(module, "base_layer"):
            inner.update(module.modules())
        if isinstance(base_of(module), nn.Linear):
            yield module


def base_of(module: nn.Module) -> nn.Module:
    """The layer inside a PEFT layer; any other module itself."""
    return getattr(module, "base_layer", module)


def siblings(model: nn.Module, layers: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, ...]]:
    """All these layers of the model once, those together that usually have one input."""
    left = set(layers)
    for module in model.modules():
        for group in children(module, left):
            left.difference_update(group)
            yield group


def children(module: nn.Module, layers: Container[nn.Module]) -> list[tuple[nn.Module, ...]]:
    """Those of these layers that the module itself holds, as `siblings` has them."""
    own = {name: child for name, child in module.named_children() if child in layers}
    groups = []
    for names in SIBLINGS:
        group = [own[name] for name in names if name in own]
        if len({base_of(layer).in_features for layer in group}) == 1:
            groups.append(tuple(group))
            own = {name: child for name, child in own.items() if name not in names}
    return groups + [(layer,) for layer in own.values()]


class Together:
    """Layers that are given one and the same tensor: whichever is asked first computes for all, and
    the others' parts wait until they are asked. Nothing is taken for granted of the model: given
    another tensor, a layer computes anew."""

    def __init__(self, compute: Callable[[Tensor], Iterable[Tensor]]) -> None:
        """`compute`: an input to each layer's result."""
        self._compute = compute
        self._given: Tensor | None = None
        self._parts: dict[int, Tensor] = {}

    def part(self, index: int, x: Tensor, *args, **kwargs) -> Tensor:
        if x is not self._given or index not in self._parts:
            self._given, self._parts = x, dict(enumerate(self._compute(x)))
        part = self._parts.pop(index)
        if not self._parts:
            self._given = None
        return part

    def forget(self, *args) -> None:
        """What nobody has asked for yet. A forward hook, too."""
        self._given, self._parts = None, {}
