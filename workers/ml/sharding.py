"""The base's frozen weights divided over the ranks (FSDP2), for a model that no single GPU holds.

Each decoder layer is gathered for its forward and again for its backward pass and let go after it;
embeddings, head and the adapter lie whole on every rank. Knows the decoder's list of layers; no
loop.
"""

from pathlib import Path

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import PreTrainedModel

from workers.ml import memory
from workers.ml.parallel import World

WEIGHTS_SHARE = 0.75  # of a device's free memory that the weights may take


def must_shard(model_dir: Path, world: World, *, quantization: str) -> bool:
    """Whether the model's files are too much for one of the ranks' devices. Those of bitsandbytes
    can't be divided: where they don't fit, loading them says so."""
    if world.size == 1 or quantization != "none":
        return False
    size = sum(file.stat().st_size for file in model_dir.glob("*.safetensors"))
    return size > WEIGHTS_SHARE * world.room(memory.available(world.device))


def shard(model: PreTrainedModel, world: World) -> None:
    """Move a model that lies in the machine's memory to the ranks' devices, each a part of it, and
    freeze it. What is attached to its layers from here on lies whole on each."""
    model.requires_grad_(False)
    decoder = model.get_decoder()
    layers, decoder.layers = decoder.layers, nn.ModuleList()
    model.to(world.device)
    decoder.layers = layers
    mesh = init_device_mesh(world.device.split(":")[0], (world.size,))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
