"""Many adapters of one shape: the trained one, and others that differ from it a little, so that
their answers are as long as its own but no two adapters can share their work."""

import shutil
from pathlib import Path

from benchmarks.training.material import whole

NOISE = 1e-3  # of a weight


def make_adapters(trained: Path, folder: Path, count: int) -> list[Path]:
    """Folders in PEFT's format; those that are there already are left as they are."""
    return [_adapter(trained, folder / f"{number:02d}", number) for number in range(count)]


def _adapter(trained: Path, target: Path, number: int) -> Path:
    import torch
    from safetensors.torch import load_file, save_file

    name = "adapter_model.safetensors"
    if target.exists():
        return target
    chance = torch.Generator().manual_seed(number)
    weights = {
        key: weight * (1 + NOISE * torch.randn(weight.shape, generator=chance))
        for key, weight in load_file(trained / name).items()
    }
    with whole(target) as partial:
        shutil.copy(trained / "adapter_config.json", partial)
        save_file(weights, partial / name, metadata={"format": "pt"})
    return target
