"""The settings of a LoRA training and what "auto" means in each. Knows no data and no model class.

`TrainSettings.from_params` reads the job's plain JSON; what is absent (or null) comes from the
preset. `resolve` turns every "auto" into a value, which the job's result shows.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from core.errors import JobFailure

Auto = str  # the literal "auto"

CLASSIC_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class LoraSettings:
    """`layers`: "all", the number of last layers that get an adapter, or "auto". `use_rslora`: an
    adapter counts alpha / sqrt(r) times instead of alpha / r, for high ranks (arXiv 2312.03732)."""

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    layers: str | int = "all"
    use_rslora: bool = False

    @classmethod
    def read(cls, resolved: Mapping[str, Any]) -> "LoraSettings":
        """As a run has resolved it, out of JSON."""
        targets = resolved["target_modules"]
        if not isinstance(targets, str):
            targets = tuple(targets)
        return cls(**{**resolved, "target_modules": targets})


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after `patience` validations in a row that are not `min_delta` better than the best."""

    patience: int = 3
    min_delta: float = 0.0


@dataclass(frozen=True)
class TrainSettings:
    """All that a training can be told. `batch_size` is the effective batch of one step, which is
    worked on in groups of `micro_batch` examples; `save_steps` null = each epoch's end and
    `save_minutes` without one."""

    preset: str = "default"
    quantization: str = "8bit"
    precision: str = "auto"
    lora: LoraSettings = field(default_factory=lambda: LoraSettings(layers="auto"))
    prompt: str = "auto"
    epochs: Auto | float = "auto"
    batch_size: int = 16
    micro_batch: Auto | int = "auto"
    learning_rate: Auto | float = "auto"
    schedule: str = "linear"
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    max_length: int = 2048
    long_rows: str = "refuse"
    gradient_checkpointing: Auto | bool = "auto"
    save_minutes: float = 10.0
    save_steps: int | None = None
    keep: int = 3
    early_stopping: EarlyStopping | None = field(default_factory=EarlyStopping)
    seed: int = 42

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "TrainSettings":
        """Absent or null = the preset's value; `early_stopping: false` switches it off."""
        preset = params.get("preset") or "default"
        if preset not in PRESETS:
            raise JobFailure("config", f"unknown preset {preset!r}; one of {sorted(PRESETS)}")
        base = PRESETS[preset]
        names = {f.name for f in fields(cls)} - {"lora", "early_stopping"}
        given = {name: params[name] for name in names if params.get(name) is not None}
        stopping = params.get("early_stopping")
        if stopping is not None:
            given["early_stopping"] = EarlyStopping(**stopping) if stopping else None
        lora = {k: v for k, v in (params.get("lora") or {}).items() if v is not None}
        if isinstance(lora.get("target_modules"), list):
            lora["target_modules"] = tuple(lora["target_modules"])
        return replace(base, lora=replace(base.lora, **lora), **given)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


PRESETS = {
    "default": TrainSettings(),
    # The values of the fine-tuning course that the product's users come from. Its fp16 is "auto"
    # here: a CPU has none. Its padding to 512 is not copied, only the limit.
    "classic": TrainSettings(
        preset="classic",
        lora=LoraSettings(dropout=0.05, target_modules=CLASSIC_TARGETS),
        prompt="classic",
        epochs=3,
        micro_batch=4,
        learning_rate=2e-4,
        max_length=512,
        long_rows="truncate",
        gradient_checkpointing=True,
        save_steps=100,
    ),
}


def auto_epochs(examples: int) -> int:
    """Small data trains longer: about 9,000 examples seen, within 3 to 10 epochs."""
    return max(3, min(10, round(9_000 / max(1, examples))))


def auto_learning_rate(parameters: int) -> float:
    """2e-3 for 135M parameters, falling with size (0.5B: 1e-3, 7B: 2.8e-4)."""
    return float(f"{2e-3 * (135e6 / max(135e6, parameters)) ** 0.5:.1e}")


def auto_layers(count: int, device: str) -> str | int:
    """All on a GPU; the last two thirds on a CPU, where the output of the layers below is computed
    once and kept, so that an epoch takes two thirds of the time."""
    return max(1, round(count * 2 / 3)) if device == "cpu" else "all"


def auto_prompt(kind: str) -> str:
    """SQL of one database is asked without its schema, which is learned."""
    return "bare" if kind == "sql" else "chat"


def auto_memory(
    batch_size: int,
    fits: Callable[[int, bool], bool],
    *,
    micro_batch: Auto | int = "auto",
    checkpointing: Auto | bool = "auto",
) -> tuple[int, bool]:
    """(micro_batch, gradient_checkpointing); `fits` says of such a pair whether there is room.

    Smaller groups come first, down to a quarter of the batch (they only repeat the prefix), then
    checkpointing (a third more work), then ever fewer examples. What is no "auto" stays.
    """
    halvings = [max(1, batch_size >> k) for k in range(batch_size.bit_length())]
    if micro_batch != "auto":
        halvings = [micro_batch]
    plain = [(micro, False) for micro in halvings[: None if checkpointing is False else 3]]
    choices = plain + [(micro, True) for micro in halvings]
    allowed = [choice for choice in choices if checkpointing in ("auto", choice[1])]
    return next((choice for choice in allowed if fits(*choice)), allowed[-1])
