"""A LoRA fine-tune: rows -> tokens -> base -> adapter -> train -> save. Knows no job and no API."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from core.errors import JobFailure
from workers.ml import hyperparameters, lora, memory, parallel
from workers.ml.card import write_card
from workers.ml.checkpointing import read_resolved
from workers.ml.continuing import Start
from workers.ml.examples import Dataset, encode_rows, read_dataset
from workers.ml.healing import Thrift
from workers.ml.hyperparameters import TrainSettings
from workers.ml.loading import LoadedModel, load_base
from workers.ml.packing import Example
from workers.ml.parallel import World
from workers.ml.prompts import PromptTemplate
from workers.ml.sharding import must_shard, shard
from workers.ml.sizing import ACTIVATION_SHARE, Sizing
from workers.ml.training import Plan, Training

VALIDATION_LIMIT = 256  # examples; the loss of more would only cost time


def run(ctx) -> dict[str, Any]:
    """Returns the figures and every resolved setting; the adapter lies in `ctx.out/"adapter"`.

    Every rank of a training on several devices runs it; the first alone saves the adapter.
    """
    settings = TrainSettings.from_params(ctx.params)
    world = parallel.join(ctx.rank, ctx.processes, meeting=ctx.meeting, device=ctx.device)
    if must_shard(ctx.inputs["model"], world, quantization=settings.quantization):
        world = replace(world, sharded=True)
    dataset = read_dataset(ctx.inputs["dataset"])
    template = choose_template(settings, ctx.params, dataset)
    loaded = load_base(
        ctx.inputs["model"],
        quantization=settings.quantization,
        precision=settings.precision,
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

    encode = partial(encode_split, ctx, dataset, loaded, template, settings)
    train, validation = encode("train"), thin_out(encode("validation"))
    start = Start.read(ctx.inputs["continue_from"]) if "continue_from" in ctx.inputs else None
    if start is not None:
        settings = start.fit(settings, ctx.params.get("lora") or {}, loaded.model)
    resolved = read_resolved(ctx.resume) if ctx.resume else resolve(settings, loaded, train)
    resolved["processes"] = world.size
    ceiling = ctx.params.get("memory_ceiling")
    sizing = measure(settings, resolved, loaded, train, ceiling=ceiling, world=world)
    be_sparing(ctx, settings, resolved, sizing)
    ctx.event(f"{len(train)} examples to train on, {len(validation)} to validate", **resolved)

    memory.keep_freed_memory()
    model = prepare_model(loaded, settings, resolved)
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
    )
    if ctx.resume:
        training.resume(ctx.resume)
    elif start is not None:
        start.load(model)
    figures = training.run()

    result = {
        "resolved": {**resolved, "prompt": template.style},
        "prompt": template.style,
        "quantized_layers": loaded.quantized_layers,
        "weight_bytes": loaded.weight_bytes,
        "trainable_parameters": sum(p.numel() for p in lora.trainable_parameters(model)),
        "train_examples": len(train),
        "validation_examples": len(validation),
        **figures,
    }
    if world.leads:
        save_adapter(ctx, model, template, dataset, settings, result)
    return result


def choose_template(
    settings: TrainSettings, params: dict[str, Any], dataset: Dataset
) -> PromptTemplate:
    schema = params.get("schema_text") or dataset.schema_text
    style = settings.prompt
    if style == "auto":
        style = hyperparameters.auto_prompt(dataset.kind)
    return PromptTemplate(
        style,
        schema_text=schema if style == "schema" else None,
        dialect=params.get("dialect") or dataset.dialect,
    )


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
        max_length=min(settings.max_length, loaded.context_length),
        truncate=settings.long_rows == "truncate",
    )


def watched(ctx, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows, between which a wish to stop is heard."""
    for row in rows:
        ctx.check()
        yield row


def thin_out(examples: Sequence[Example]) -> list[Example]:
    """At most VALIDATION_LIMIT, evenly spread: the same ones at each validation."""
    step = max(1, -(-len(examples) // VALIDATION_LIMIT))
    return list(examples[::step])


def resolve(
    settings: TrainSettings, loaded: LoadedModel, train: Sequence[Example]
) -> dict[str, Any]:
    """Every "auto" as a value."""
    values = settings.to_dict()
    parameters = sum(p.numel() for p in loaded.model.parameters())
    values["precision"] = loaded.precision
    if settings.epochs == "auto":
        values["epochs"] = hyperparameters.auto_epochs(len(train))
    if settings.learning_rate == "auto":
        values["learning_rate"] = hyperparameters.auto_learning_rate(parameters)
    if settings.lora.layers == "auto":
        count = loaded.model.config.num_hidden_layers
        values["lora"]["layers"] = hyperparameters.auto_layers(count, loaded.device)
    return values


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


def shares_prefix(settings: TrainSettings) -> bool:
    """Dropout would draw one mask over a group's shared prefix, so it takes the plain path."""
    return settings.lora.dropout == 0


def prepare_model(loaded: LoadedModel, settings: TrainSettings, resolved: dict[str, Any]):
    chosen = replace(settings.lora, layers=resolved["lora"]["layers"])
    model = lora.attach_adapter(loaded.model, chosen, seed=settings.seed)
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
