"""A tiny random Llama with a byte-level ChatML tokenizer, built offline in a second for tests.

It answers nonsense; it stands for a base model wherever mechanics are tested, not quality.
"""

from pathlib import Path

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Enough text for a few merges, so that a token is not always one byte.
CORPUS = [
    "SELECT name, COUNT(*) FROM customers WHERE city = 'Paris' GROUP BY name ORDER BY 2 DESC",
    "SELECT SUM(o.total) FROM orders AS o JOIN customers AS c ON o.customer_id = c.id",
    "How many orders did each customer place? What is the total of all sales?",
    "system user assistant Answer with one SQL query. customers(id, name, city)",
]


def build_tiny_tokenizer():
    """A byte-level BPE tokenizer of about 400 tokens; any text round-trips, Chinese as bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_tiny_model(directory: Path, *, seed: int = 0, layers: int = 2) -> Path:
    """Writes config, safetensors (fp32, 4 query and 2 key/value heads) and tokenizer; returns it.

    Initial weights are larger than usual, so that attention is not almost uniform and a wrong
    mask or position shows in the loss.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=4096,
        initializer_range=0.1,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(torch.float32)
    model.save_pretrained(directory, safe_serialization=True)
    tokenizer.save_pretrained(directory)
    return directory


def build_tiny_dataset(directory: Path, rows: list[dict], *, kind: str = "sql", **meta) -> Path:
    """Writes rows ({question, answer, split?, input?, context?}) as a prepared dataset directory.

    The layout is that of the `prepare` recipe: a DatasetDict plus `dataset.json`.
    """
    import json

    from datasets import Dataset, DatasetDict

    splits: dict[str, list[dict]] = {}
    for line, row in enumerate(rows, start=1):
        splits.setdefault(row.get("split", "train"), []).append(
            {
                "line": line,
                "question": row["question"],
                "input": row.get("input", ""),
                "answer": row["answer"],
                "context": row.get("context", "[]"),
            }
        )
    DatasetDict({name: Dataset.from_list(part) for name, part in splits.items()}).save_to_disk(
        directory
    )
    description = {
        "kind": kind,
        "dialect": meta.get("dialect", "sqlite"),
        "splits": {name: len(part) for name, part in splits.items()},
        "schema_text": meta.get("schema_text"),
        "max_tokens": meta.get("max_tokens"),
    }
    text = json.dumps(description, ensure_ascii=False, indent=2)
    (directory / "dataset.json").write_text(text, encoding="utf-8")
    return directory
