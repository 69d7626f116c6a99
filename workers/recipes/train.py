"""A LoRA fine-tune: rows -> tokens -> base -> adapter -> train -> save. Knows no job and no API."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from core.errors import JobFailure
from workers.ml import hyperparameters, lora, memory
from workers.ml.card import write_card
from workers.ml.checkpointing import read_resolved
from workers.ml.examples import Dataset, encode_rows, read_dataset
from workers.ml.hyperparameters import TrainSettings
from workers.ml.loading import LoadedModel, load_base
from workers.ml.packing import Example, common_prefix
from workers.ml.prompts import PromptTemplate
from workers.ml.training import Plan, Training

VALIDATION_LIMIT = 256  # examples; the loss of more would only cost time
ACTIVATION_SHARE = 0.5  # of the free memory that a group's activations may take


def run(ctx) -> dict[str, Any]:
    """Returns the figures and every resolved setting; the adapter lies in `ctx.out/"adapter"`."""
    settings = TrainSettings.from_params(ctx.params)
    dataset = read_dataset(ctx.inputs["dataset"])
    template = choose_template(settings, ctx.params, dataset)
    loaded = load_base(
        ctx.inputs["model"],
        quantization=settings.quantization,
        precision=settings.precision,
        device=ctx.device,
    )
    ctx.event(f"base model loaded: {loaded.linear_8bit} layers in 8 bit, {loaded.dtype}")
    if settings.quantization == "8bit" and not loaded.linear_8bit:
        raise JobFailure("config", "8 bit was asked for, but no layer is 8-bit; ask for none")

    train = encode_split(dataset, "train", loaded, template, settings)
    validation = thin_out(encode_split(dataset, "validation", loaded, template, settings))
    resolved = read_resolved(ctx.resume) if ctx.resume else resolve(settings, loaded, train)
    ctx.event(f"{len(train)} examples to train on, {len(validation)} to validate", **resolved)

    memory.keep_freed_memory()
    with out_of_memory_is_a_failure():
        model = prepare_model(loaded, settings, resolved)
        training = Training(
            model,
            train,
            validation,
            plan_of(settings, resolved),
            reporter=ctx,
            device=ctx.device,
            resolved=resolved,
        )
        if ctx.resume:
            training.resume(ctx.resume)
        figures = training.run()

    result = {
        "resolved": {**resolved, "prompt": template.style},
        "prompt": template.style,
        "layers_8bit": loaded.linear_8bit,
        "weight_bytes": loaded.weight_bytes,
        "trainable_parameters": sum(p.numel() for p in lora.trainable_parameters(model)),
        "train_examples": len(train),
        "validation_examples": len(validation),
        **figures,
    }
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
    dataset: Dataset,
    split: str,
    loaded: LoadedModel,
    template: PromptTemplate,
    settings: TrainSettings,
) -> list[Example]:
    """The split in tokens; a missing `validation` is empty, a missing `train` a failure."""
    rows = dataset.splits.get(split, [])
    if split == "train" and not len(rows):
        raise JobFailure("data", "the dataset has no rows in its split 'train'")
    return encode_rows(
        rows,
        loaded.tokenizer,
        template,
        max_length=min(settings.max_length, loaded.context_length),
        truncate=settings.long_rows == "truncate",
    )


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
    micro, checkpointing = auto_memory(settings, loaded, train)
    values["micro_batch"] = micro
    values["gradient_checkpointing"] = checkpointing
    return values


def auto_memory(
    settings: TrainSettings, loaded: LoadedModel, train: Sequence[Example]
) -> tuple[int, bool]:
    """(micro_batch, gradient_checkpointing), for a group of the longest examples."""
    budget = ACTIVATION_SHARE * memory.available(loaded.device)
    prefix = common_prefix(train) if shares_prefix(settings) else 0
    longest = sorted(train, key=len, reverse=True)

    def fits(micro: int, checkpointing: bool) -> bool:
        if settings.gradient_checkpointing not in ("auto", checkpointing):
            return False
        need = memory.group_bytes(
            loaded.model.config,
            tokens=prefix + sum(len(e) - prefix for e in longest[:micro]),
            labels=sum(len(e.completion_ids) for e in longest[:micro]),
            itemsize=loaded.dtype.itemsize,
            gradient_checkpointing=checkpointing,
        )
        return need <= budget

    if settings.micro_batch == "auto":
        micro, checkpointing = hyperparameters.auto_memory(settings.batch_size, fits)
    else:
        micro = settings.micro_batch
        checkpointing = not fits(micro, False)
    forced = settings.gradient_checkpointing
    return micro, checkpointing if forced == "auto" else forced


def shares_prefix(settings: TrainSettings) -> bool:
    """Dropout would draw one mask over a group's shared prefix, so it takes the plain path."""
    return settings.lora.dropout == 0


def prepare_model(loaded: LoadedModel, settings: TrainSettings, resolved: dict[str, Any]):
    chosen = replace(settings.lora, layers=resolved["lora"]["layers"])
    model = lora.attach_adapter(loaded.model, chosen, seed=settings.seed)
    lora.speed_up(model)
    if resolved["gradient_checkpointing"]:
        model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
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


@contextmanager
def out_of_memory_is_a_failure() -> Iterator[None]:
    advice = "a smaller micro_batch, a smaller max_length or gradient_checkpointing: true is right"
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise JobFailure("oom_gpu", f"the GPU's memory is full; {advice}") from error
    except MemoryError as error:
        raise JobFailure("oom_host", f"the host's memory is full; {advice}") from error
    except RuntimeError as error:
        # torch's CPU allocator has no exception class of its own.
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise JobFailure("oom_host", f"the host's memory is full; {advice}") from error
