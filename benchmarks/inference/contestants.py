"""Who answers the questions, and with which command. Knows no contest."""

import os
from typing import Any

from benchmarks.calling import ours, peer
from benchmarks.contest import Contestant
from benchmarks.inference.material import MAX_NEW_TOKENS, Material, gguf
from benchmarks.peers import llama_build
from benchmarks.peers.environments import home_of, python_of
from benchmarks.precision import native

FIGURE = "requests_per_second"
ONE_BY_ONE = 8  # questions a turn of a peer that takes one at a time
KNOWN = ("hf", "vllm", "llamacpp")


class Players:
    """Contestants on one material, `batch` questions a turn; `peer_batch` for peers that work on so
    many rows at a time and no more: what they do in a second does not depend on it."""

    def __init__(self, material: Material, batch: int, peer_batch: int | None = None) -> None:
        self.material, self.batch = material, batch
        self.peer_batch = peer_batch or batch

    def ours(self, name: str, *, quantization: str = "none", merged: bool = False) -> Contestant:
        return ours(name, "inference.ours", self.told(quantization, merged=merged))

    def hf(
        self, name: str, rows: int, *, quantization: str = "none", merged: bool = False
    ) -> Contestant:
        told = self.told(quantization, merged=merged)
        told |= {"rows": rows, "batch": max(rows, self.peer_batch)}
        return peer(name, "hf", "hf_generate.py", told)

    def continuous(self, name: str) -> Contestant:
        told = self.told("none", merged=True) | {"batch": self.peer_batch}
        return peer(name, "hf", "hf_continuous.py", told)

    def vllm(self, name: str, *, merged: bool = False) -> Contestant:
        return peer(name, "vllm", "vllm_cpu.py", self.told("none", merged=merged))

    def llama(self, name: str) -> Contestant:
        told = self._with_gguf() | {"batch": min(self.peer_batch, ONE_BY_ONE)}
        return peer(name, "llamacpp", "llama_cpp_python.py", told)

    def llama_server(self, name: str, slots: int) -> Contestant:
        told = self._with_gguf() | {"slots": slots}
        told["server"] = str(llama_build.server(home_of("llamacpp")))
        return peer(name, "llamacpp", "llama_server.py", told)

    def _with_gguf(self) -> dict[str, Any]:
        python_of("llamacpp")
        model = gguf(self.material.merged, home_of("llamacpp"))
        return self.told("8bit", merged=True) | {"gguf": str(model)}

    def told(self, quantization: str, *, merged: bool) -> dict[str, Any]:
        """What every contestant is told."""
        from transformers import AutoTokenizer

        from core.training.prompts import end_token_ids

        material = self.material
        tokenizer = AutoTokenizer.from_pretrained(material.model)
        return {
            "model": str(material.merged if merged else material.model),
            "adapter": None if merged else str(material.adapter),
            "prompts": str(material.prompts),
            "precision": native(),
            "quantization": quantization,
            "batch": self.batch,
            "max_new_tokens": MAX_NEW_TOKENS,
            "ends": sorted(end_token_ids(tokenizer)),
            "threads": len(os.sched_getaffinity(0)),
        }
