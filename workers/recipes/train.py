"""A LoRA fine-tune: rows -> tokens -> base -> adapter -> train -> save. Knows no job and no API."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from core.errors import JobFailure
from core.training import hyperparameters
from core.training.examples import Example, encode_rows
from core.training.hyperparameters import LoraSettings, TrainSettings
from core.training.planning import choose_template, resolve, shares_prefix, thin_out
from core.training.prompts import PromptTemplate
from core.training.sizing import ACTIVATION_SHARE, Sizing
from workers.ml import lora, memory, parallel
from workers.ml.card import write_card
from workers.ml.checkpointing import read_resolved
from workers.ml.continuing import Start
from workers.ml.curves import FILE_NAME, read_points, write_curves
from workers.ml.examples import Dataset, read_dataset
from workers.ml.healing import Thrift
from workers.ml.loading import LoadedModel, load_base
from workers.ml.parallel import World
from workers.ml.plan import Plan
from workers.ml.sharding import must_shard, shard
from workers.ml.training import Training


def run(ctx) -> dict[str, Any]:
    """Returns the figures and every resolved setting; the adapter lies in `ctx.out/"adapter"`.

    Every rank of a training on several devices runs it; the first alone saves the adapter.
    """
    settings = TrainSettings.from_params(ctx.params)
    world = join(ctx, settings)
    dataset = read_dataset(ctx.inputs["dataset"])
    template = choose_template(
        settings,
        kind=dataset.kind,
        schema_text=ctx.params.get("schema_text") or dataset.schema_text,
        dialect=ctx.params.get("dialect") or dataset.dialect,
    )
    begun = begun_with(ctx) if ctx.resume else None
    loaded = load(ctx, settings, world, begun["precision"] if begun else settings.precision)
    encode = partial(encode_split, ctx, dataset, loaded, template, settings)
    train, validation = encode("train"), thin_out(encode("validation"))
    start = Start.read(ctx.inputs["continue_from"]) if "continue_from" in ctx.inputs else None
    if start is not None:
        settings = start.fit(settings, ctx.params.get("lora") or {}, loaded.model)
    resolved = begun or first_plan(settings, loaded, train)
    # A resumed run's adapter has the shape it began with, which may have been that of another one.
    settings = replace(settings, lora=LoraSettings.read(resolved["lora"]))
    resolved["processes"] = world.size
    ceiling = ctx.params.get("memory_ceiling")
    sizing = measure(settings, resolved, loaded, train, ceiling=ceiling, world=world)
    be_sparing(ctx, settings, resolved, sizing)
    ctx.event(f"{len(train)} examples to train on, {len(validation)} to validate", **resolved)
    ctx.resolved({**resolved, "prompt": template.style})

    memory.keep_freed_memory()
    model = prepare_model(loaded, settings)
    training = Training(
        model,
        train,
        validation,
        plan_of(settings, resolved),
        sizing=sizing,
        reporter=ctx,
        device=ctx.device,
        resolved=resolved,
        world=world,
        furnish=template.save,
    )
    if ctx.resume:
        training.resume(ctx.resume)
    elif start is not None:
        start.load(model)
    figures = training.run()

    result = {
        "resolved": {**resolved, "prompt": template.style},
        "prompt": template.style,
        **sizes(loaded, model, train, validation),
        **figures,
    }
    if world.leads:
        save_adapter(ctx, model, template, dataset, settings, result)
        earlier = read_points(ctx.inputs["curves"]) if "curves" in ctx.inputs else {}
        write_curves(ctx.out / FILE_NAME, earlier | ctx.points, steps=figures["steps"])
    return result


def join(ctx, settings: TrainSettings) -> World:
    """The ranks that train together; they divide the base among them where none could hold it."""
    world = parallel.join(ctx.rank, ctx.processes, meeting=ctx.meeting, device=ctx.device)
    if must_shard(ctx.inputs["model"], world, quantization=settings.quantization):
        return replace(world, sharded=True)
    return world


def begun_with(ctx) -> dict[str, Any]:
    """The settings of a resumed run, whatever "auto" would give on this worker. Only what a device
    does not have at all is another: fp16 on a CPU."""
    resolved = read_resolved(ctx.resume)
    if resolved["precision"] == "fp16" and ctx.device == "cpu":
        ctx.event("it began in fp16, which a CPU has not: it goes on in fp32", level="warning")
        resolved["precision"] = "fp32"
    return resolved


def load(ctx, settings: TrainSettings, world: World, precision: str) -> LoadedModel:
    """The base model, on its device or divided over those of all ranks."""
    loaded = load_base(
        ctx.inputs["model"],
        quantization=settings.quantization,
        precision=precision,
        device=ctx.device,
        placement="cpu" if world.sharded else None,
    )
    if world.sharded:
        shard(loaded.model, world)
        ctx.event(f"the base's weights are divided over {world.size} devices")
    ctx.check()
    ctx.event(
        f"base model loaded: {loaded.quantized_layers} layers quantised "
        f"({settings.quantization}), {loaded.dtype}"
    )
    return loaded


def sizes(
    loaded: LoadedModel, model, train: Sequence[Example], validation: Sequence[Example]
) -> dict[str, int]:
    """How large all that was is."""
    return {
        "quantized_layers": loaded.quantized_layers,
        "weight_bytes": loaded.weight_bytes,
        "trainable_parameters": sum(p.numel() for p in lora.trainable_parameters(model)),
        "train_examples": len(train),
        "validation_examples": len(validation),
        "train_tokens": sum(map(len, train)),
    }


def encode_split(
    ctx,
    dataset: Dataset,
    loaded: LoadedModel,
    template: PromptTemplate,
    settings: TrainSettings,
    split: str,
) -> list[Example]:
    """The split in tokens; a missing `validation` is empty, a missing `train` a failure."""
    rows = dataset.splits.get(split, [])
    if split == "train" and not len(rows):
        raise JobFailure("data", "the dataset has no rows in its split 'train'")
    return encode_rows(
        watched(ctx, rows),
        loaded.tokenizer,
        template,
        max_length=settings.max_length,
        model_takes=min(loaded.context_length, loaded.window or loaded.context_length),
        truncate=settings.long_rows == "truncate",
    )


def watched(ctx, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows, between which a wish to stop is heard."""
    for row in rows:
        ctx.check()
        yield row


def first_plan(
    settings: TrainSettings, loaded: LoadedModel, train: Sequence[Example]
) -> dict[str, Any]:
    return resolve(
        settings,
        examples=len(train),
        parameters=loaded.model.num_parameters(),  # in 4 bit two lie in a byte
        layers=loaded.model.config.num_hidden_layers,
        device=loaded.device,
        precision=loaded.precision,
    )


def measure(
    settings: TrainSettings,
    resolved: dict[str, Any],
    loaded: LoadedModel,
    train: Sequence[Example],
    *,
    ceiling: int | None,
    world: World,
) -> Sizing:
    """What groups of these examples take, and how much they may."""
    layers = resolved["lora"]["layers"]
    return Sizing(
        loaded.model.config,
        train,
        layers=loaded.model.config.num_hidden_layers if layers == "all" else layers,
        itemsize=loaded.dtype.itemsize,
        share_prefix=shares_prefix(settings),
        budget=ACTIVATION_SHARE * world.room(memory.available(loaded.device)),
        ceiling=ceiling,
    )


def be_sparing(ctx, settings: TrainSettings, resolved: dict[str, Any], sizing: Sizing) -> None:
    """Resolve micro_batch and gradient_checkpointing: by the room there is, and by what has been
    too much before, in this job or in another on such a device."""
    micro, checkpointing = hyperparameters.auto_memory(
        -(-settings.batch_size // resolved["processes"]),
        sizing.fits,
        micro_batch=resolved["micro_batch"],
        checkpointing=resolved["gradient_checkpointing"],
    )
    resolved |= {"micro_batch": micro, "gradient_checkpointing": checkpointing}
    wanted = Thrift(micro, checkpointing, resolved.get("lower_cache") or 0)
    thrift = wanted.below(sizing)
    if thrift != wanted:
        message = f"{wanted} has been too much for such a device; it begins with {thrift}"
        ctx.event(message, level="warning")
        resolved |= {name: value for name, value in vars(thrift).items() if name in resolved}


def prepare_model(loaded: LoadedModel, settings: TrainSettings):
    model = lora.attach_adapter(loaded.model, settings.lora, seed=settings.seed)
    lora.speed_up(model)
    torch.manual_seed(settings.seed)  # dropout's masks
    return model


def plan_of(settings: TrainSettings, resolved: dict[str, Any]) -> Plan:
    return Plan(
        epochs=resolved["epochs"],
        batch_size=settings.batch_size,
        micro_batch=resolved["micro_batch"],
        learning_rate=resolved["learning_rate"],
        schedule=settings.schedule,
        warmup_ratio=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        precision=resolved["precision"],
        save_seconds=60 * settings.save_minutes,
        save_steps=settings.save_steps,
        early_stopping=settings.early_stopping,
        seed=settings.seed,
        share_prefix=shares_prefix(settings),
        gradient_checkpointing=resolved["gradient_checkpointing"],
        lower_cache=resolved.get("lower_cache"),
    )


def save_adapter(ctx, model, template, dataset: Dataset, settings, result: dict[str, Any]) -> None:
    """PEFT's files, the prompt and the card. The base model's local path is not written down."""
    base = ctx.params.get("model") or ctx.inputs["model"].name
    model.peft_config["default"].base_model_name_or_path = base
    directory = ctx.out / "adapter"
    model.save_pretrained(directory, save_embedding_layers=False)
    template.save(directory)
    metrics = {k: v for k, v in result.items() if isinstance(v, int | float)}
    write_card(
        directory,
        base_model=base,
        dataset_hash=ctx.params.get("dataset_hash") or dataset.content_hash,
        settings=result["resolved"],
        metrics=metrics,
    )
