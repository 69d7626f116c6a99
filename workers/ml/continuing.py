"""A training that starts from an adapter's weights instead of fresh ones, with a fresh optimizer.

The new adapter has the old one's shape: what the settings leave open is taken from it, what they
say must agree. Knows an adapter's folder; no job and no version.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from core.errors import JobFailure
from core.training.hyperparameters import LoraSettings, TrainSettings
from workers.ml.checkpointing import WEIGHTS, adapter_weights, load_adapter_weights
from workers.ml.loading import lora_config, refuse_hostile_adapter
from workers.ml.lora import linear_names

# Of these a training knows one kind only.
UNKNOWN = (
    "use_dora",
    "lora_bias",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
)


@dataclass(frozen=True)
class Start:
    directory: Path
    config: LoraConfig

    @classmethod
    def read(cls, directory: Path) -> "Start":
        refuse_hostile_adapter(directory)
        try:
            config = lora_config(directory)
        except (ValueError, TypeError) as error:
            raise _misfit(f"its adapter_config.json is not to be used ({error})") from error
        if odd := [name for name in UNKNOWN if getattr(config, name, None)]:
            raise _misfit(f"it uses {', '.join(odd)}, which a training here does not")
        return cls(directory, config)

    def fit(
        self, settings: TrainSettings, given: Mapping[str, Any], model: nn.Module
    ) -> TrainSettings:
        """The settings with the adapter's shape; `given` are those of `lora` that the user said."""
        own = self._shape(model)
        wanted = settings.lora
        said = {name for name, value in given.items() if value not in (None, "auto")}
        differing = {
            name: (getattr(own, name), getattr(wanted, name))
            for name in ("r", "alpha", "target_modules", "layers", "use_rslora")
            if name in said and not _same(name, getattr(own, name), getattr(wanted, name), model)
        }
        if differing:
            told = "; ".join(
                f"lora.{name} of it is {theirs}, this training says {ours}"
                for name, (theirs, ours) in differing.items()
            )
            raise _misfit(f"{told}. Leave these out, or start from the base model")
        return replace(settings, lora=replace(own, dropout=wanted.dropout))

    def load(self, model: PeftModel) -> None:
        """Put the weights into a model that has an adapter of this shape."""
        try:
            weights = load_file(self.directory / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise _misfit(f"its weights can't be read ({error})") from error
        here = {name: tensor.shape for name, tensor in adapter_weights(model).items()}
        there = {name: tensor.shape for name, tensor in weights.items()}
        odd = sorted(
            name for name in here.keys() | there.keys() if here.get(name) != there.get(name)
        )
        if odd:
            raise _misfit(
                f"{len(odd)} weights are missing, left over or of another shape, as {odd[0]}"
            )
        load_adapter_weights(model, weights)

    def _shape(self, model: nn.Module) -> LoraSettings:
        config, names = self.config, self.config.target_modules
        if isinstance(names, str):
            raise _misfit(f"its target_modules are a pattern ({names}), not names of layers")
        return LoraSettings(
            r=config.r,
            alpha=config.lora_alpha,
            target_modules=tuple(sorted(names)),
            layers=_last_layers(config.layers_to_transform, model.config.num_hidden_layers),
            use_rslora=bool(config.use_rslora),
        )


def _last_layers(numbers: list[int] | int | None, count: int) -> str | int:
    """`lora.layers` for the numbers of adapted layers."""
    if numbers is None:
        return "all"
    found = sorted([numbers] if isinstance(numbers, int) else numbers)
    if not found or found != list(range(count - len(found), count)):
        raise _misfit("it does not sit in the last layers; lora.layers can't say which")
    return len(found)


def _same(name: str, theirs: Any, ours: Any, model: nn.Module) -> bool:
    if name == "target_modules":
        return set(theirs) == set(linear_names(model) if ours == "all-linear" else ours)
    if name == "layers":
        count = model.config.num_hidden_layers
        return {"all": count}.get(theirs, theirs) == {"all": count}.get(ours, ours)
    return theirs == ours


def _misfit(why: str) -> JobFailure:
    return JobFailure("config", f"the adapter of continue_from does not fit: {why}")
