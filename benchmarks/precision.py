"""In what dtype everybody computes: the one that this machine's CPU does in hardware."""


def native() -> str:
    """`bf16`, or `fp32` where bf16 would be emulated: slower for all, and most for those who
    compute most."""
    import torch

    from workers.ml.loading import resolve_precision

    return {torch.bfloat16: "bf16", torch.float32: "fp32"}[resolve_precision("auto", "cpu")]
