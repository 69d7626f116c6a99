"""One training on several devices: a process for each, all of which run the same recipe.

Every rank holds the model, the adapter and all examples, works on its share of a step's batch, and
takes the same optimizer step from the sum of the gradients. So the ranks' weights are equal at all
times, and one of them writes them down. Knows tensors and examples; no loop, no job, and not who
starts the processes.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import check_cuda_p2p_ib_support, reduce
from torch import distributed, nn

from core.errors import JobFailure
from workers.ml.packing import Example

PATIENCE = timedelta(minutes=10)
"""How long a rank waits for the others: for a checkpoint to be written, for a model to be loaded.
One that died is noticed at once, by whoever started it."""

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


@dataclass(frozen=True)
class World:
    """The ranks of a training as one of them sees it; alone, every method gives back what it got.

    Where it says "all ranks", all must call, in the same order: each waits for the others.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    sharded: bool = False
    """Whether each holds a part of the base's weights only (`workers.ml.sharding`). Then all ranks
    must run every forward and backward pass together: each waits in it for the others."""

    @property
    def leads(self) -> bool:
        """Whether this rank is the one that reports and writes."""
        return self.rank == 0

    def share(self, examples: Sequence[Example]) -> Sequence[Example]:
        """This rank's part of the examples, none perhaps: about as many tokens as the others',
        and neighbours by prompt, so that those with a common prefix stay together."""
        if self.size == 1:
            return examples
        ordered = sorted(examples, key=lambda e: e.prompt_ids)
        total, before, mine = sum(len(e) for e in ordered), 0, []
        for example in ordered:
            middle = before + len(example) / 2
            if int(middle / total * self.size) == self.rank:
                mine.append(example)
            before += len(example)
        return mine

    def room(self, free: int) -> int:
        """Bytes that each of all ranks may take, where this one finds so many `free`: on a CPU the
        ranks share them."""
        return int(self.smallest(free)) // (self.size if self.device == "cpu" else 1)

    def seed(self, seed: int, step: int) -> None:
        """Random numbers of this rank's own from here on, which follow from seed and step: no rank
        but the one that writes has its state in a checkpoint. Alone, they go on as they were."""
        if self.size > 1:
            torch.manual_seed((seed * 1_000_003 + step) * self.size + self.rank)

    def sum(self, *values: float) -> list[float]:
        """The values' sums over all ranks, the same on each to the last bit."""
        return list(values) if self.size == 1 else self._reduce(values, "sum")

    def largest(self, value: float) -> float:
        """The largest value of all ranks."""
        return value if self.size == 1 else self._reduce([value], "max")[0]

    def smallest(self, value: float) -> float:
        """The smallest value of all ranks."""
        return -self.largest(-value)

    def idle(self, passes: int) -> int:
        """How many passes this rank must run behind its own `passes`, so that all ranks of a
        divided base run as many."""
        return int(self.largest(passes)) - passes if self.sharded else 0

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Each gradient becomes its sum over all ranks, none counting as zero; one transfer."""
        if self.size == 1:
            return
        parameters = list(parameters)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = reduce(torch.cat([gradient.flatten() for gradient in gradients]), "sum")
        parts = flat.split([p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def _reduce(self, values: Iterable[float], how: str) -> list[float]:
        here = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        return reduce(here, how).tolist()


ALONE = World()


def join(rank: int, size: int, *, meeting: Path, device: str) -> World:
    """Meet the other ranks of this machine by a file that was not there before; nothing listens but
    on the loopback interface. Once in a process. JobFailure (config) where devices are lacking."""
    if size == 1:
        return ALONE
    on_gpu = device.startswith("cuda")
    if on_gpu:
        _take_gpu(device, size)
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ.update({name: str(number) for name, number in numbers.items()} | LOOPBACK)
    # Else accelerate would choose their number itself.
    os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=distributed.FileStore(str(meeting), size),
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    PartialState(cpu=not on_gpu)
    return World(rank, size, device)


def number_of(device: str) -> int:
    """The number of a GPU: `cuda`, as a worker calls its own, is the first that it sees."""
    return torch.device(device).index or 0


def _take_gpu(device: str, size: int) -> None:
    if (visible := torch.cuda.device_count()) < size:
        raise JobFailure(
            "config", f"a training in {size} processes needs as many GPUs; the worker has {visible}"
        )
    torch.cuda.set_device(number_of(device))
    if not check_cuda_p2p_ib_support():  # as `accelerate launch` does for such cards
        os.environ.update({"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"})
