"""Merges an adapter into its base: one safetensors model in `out/model`, proven to be the same."""

from typing import Any

from core.basemodels.store import write_manifest
from core.errors import InvalidInput, JobFailure
from workers.ml.conversion import forget_provenance
from workers.ml.merging import merge


def run(ctx) -> dict[str, Any]:
    """Returns the parity figures and the description of the merged model. No parity, no model."""
    params = ctx.params
    target = ctx.out / "model"
    target.mkdir(parents=True)
    ctx.event("loading base and adapter in fp32")
    ctx.progress(0, 2)
    parity = merge(
        ctx.inputs["model"],
        ctx.inputs["adapter"],
        target,
        precision=params.get("precision", "fp32"),
        prompts=params.get("sample_prompts"),
        device=ctx.device,
        check=ctx.check,
    )
    ctx.event(
        f"merged: largest logit difference {parity.max_logit_difference:.1e}, "
        f"{parity.token_agreement:.0%} of greedy tokens equal on {parity.prompts} prompts"
    )
    ctx.progress(1, 2)
    ctx.check()
    manifest = describe(target, params.get("name") or "merged", ctx.inputs["model"].name)
    ctx.progress(2, 2)
    return {
        "parity": parity.to_dict(),
        "precision": params.get("precision", "fp32"),
        "parameters": manifest["parameters"],
        "architecture": manifest["architecture"],
        "context_length": manifest["context_length"],
        "bytes": sum(entry["bytes"] for entry in manifest["files"]),
    }


def describe(target, name: str, base: str) -> dict[str, Any]:
    """Writes the model's manifest; what the platform wrote must pass its own checks."""
    forget_provenance(target)
    try:
        return write_manifest(
            target, name=name, source=f"merge of an adapter into {base}", licence=f"that of {base}"
        )
    except InvalidInput as error:
        raise JobFailure("crash", f"the merged model is not acceptable: {error.message}") from error
