"""Models are whole or not there, and what could run code never gets in."""

import json
import os
import struct
from pathlib import Path

import pytest

from core.basemodels.safety import check_adapter_directory, check_model_directory
from core.basemodels.store import ModelStore, count_parameters, read_manifest, write_manifest
from core.errors import InvalidInput, NotFound

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "max_position_embeddings": 512,
}


def safetensors(**shapes: list[int]) -> bytes:
    """A safetensors file of zeros in float32."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(offset)


def make_model(directory: Path, **config) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG | config), encoding="utf-8")
    (directory / "tokenizer.json").write_text("{}", encoding="utf-8")
    (directory / "model.safetensors").write_bytes(safetensors(a=[3, 4], b=[5]))
    return directory


def make_adapter(directory: Path, **config) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"peft_type": "LORA", "r": 4} | config)
    (directory / "adapter_config.json").write_text(text, encoding="utf-8")
    (directory / "adapter_model.safetensors").write_bytes(safetensors(a=[2]))
    return directory


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def put(store: ModelStore, name: str = "tiny"):
    with store.staging(name) as staged:
        make_model(staged / "model")
        return store.put(staged / "model", name=name, source="a test", licence="MIT")


def test_a_stored_model_has_a_manifest_of_every_file(store):
    put(store)
    manifest = store.get("tiny")
    assert manifest["parameters"] == 17
    assert manifest["architecture"] == "LlamaForCausalLM"
    assert manifest["context_length"] == 512
    assert (manifest["source"], manifest["licence"]) == ("a test", "MIT")
    files = {entry["path"]: entry for entry in manifest["files"]}
    assert set(files) == {"config.json", "tokenizer.json", "model.safetensors"}
    assert files["tokenizer.json"]["bytes"] == 2
    assert len(files["tokenizer.json"]["sha256"]) == 64
    assert store.path("tiny") == store.root / "tiny"
    assert [m["name"] for m in store.manifests()] == ["tiny"]
    assert store.verify("tiny") is None


def test_staging_leaves_nothing_behind_and_is_no_model(store):
    with pytest.raises(ZeroDivisionError), store.staging("tiny") as staged:
        make_model(staged)
        write_manifest(staged, name="tiny", source="", licence="")
        assert store.manifests() == []
        raise ZeroDivisionError
    assert list(store.root.iterdir()) == []


def test_a_model_is_replaced_as_a_whole(store):
    first = put(store)
    second = put(store)
    assert first["files"] == second["files"]
    assert [path.name for path in store.root.iterdir()] == ["tiny"]


def test_damage_is_named(store):
    put(store)
    (store.root / "tiny" / "model.safetensors").write_bytes(safetensors(a=[3, 4], b=[6]))
    assert "model.safetensors" in store.verify("tiny")
    (store.root / "tiny" / "tokenizer.json").unlink()
    assert store.verify("tiny") is not None


def test_an_unknown_model_names_those_there_are(store):
    with pytest.raises(NotFound, match="none yet"):
        store.path("tiny")
    put(store)
    with pytest.raises(NotFound, match="there are: tiny"):
        store.path("other")


@pytest.mark.parametrize("name", ["", "..", "../tiny", "a/b", "A", ".hidden", "x" * 65, "-x"])
def test_a_name_never_leads_out_of_the_store(store, name):
    put(store)
    with pytest.raises(InvalidInput):
        store.path(name)


def test_a_link_in_the_store_is_no_model(store, tmp_path):
    put(store)
    make_model(tmp_path / "outside")
    write_manifest(tmp_path / "outside", name="linked", source="", licence="")
    (store.root / "linked").symlink_to(tmp_path / "outside")
    assert [m["name"] for m in store.manifests()] == ["tiny"]
    with pytest.raises(NotFound):
        store.path("linked")


def test_a_broken_manifest_hides_its_model_alone(store):
    put(store)
    put(store, "other")
    (store.root / "other" / "tuneyard.json").write_text("{", encoding="utf-8")
    assert [m["name"] for m in store.manifests()] == ["tiny"]
    with pytest.raises(InvalidInput):
        read_manifest(store.root / "other")


# --- hostile content (docs/RELIABILITY.md, row 22) -----------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("pytorch_model.bin", "model.pt", "model.pth", "x.ckpt", "weights.pkl", "a.pickle"),
        *("modeling_llama.py", "sub/tokenization.py", "lib.so", "setup.sh", "model.zip"),
        *("a.tar.gz", "W.BIN", "t.h5", "m.npz"),
    ],
)
def test_pickles_code_and_archives_are_refused(tmp_path, name):
    model = make_model(tmp_path / "model")
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"x")
    with pytest.raises(InvalidInput, match=name.replace(".", "\\.")):
        check_model_directory(model)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_auto_map_is_refused_wherever_it_stands(tmp_path, file):
    model = make_model(tmp_path / "model")
    hostile = CONFIG | {"text_config": {"deep": [{"auto_map": {"AutoModel": "x.Evil"}}]}}
    (model / file).write_text(json.dumps(hostile), encoding="utf-8")
    with pytest.raises(InvalidInput, match="auto_map"):
        check_model_directory(model)


def test_links_are_refused(tmp_path):
    model = make_model(tmp_path / "model")
    (model / "README.md").symlink_to("/etc/hostname")
    with pytest.raises(InvalidInput, match="symbolic link"):
        check_model_directory(model)
    (model / "README.md").unlink()
    (model / "sub").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(InvalidInput, match="symbolic link"):
        check_model_directory(model)
    (tmp_path / "alias").symlink_to(make_model(tmp_path / "other"))
    with pytest.raises(InvalidInput, match="not a directory"):
        check_model_directory(tmp_path / "alias")


def test_a_pipe_is_refused(tmp_path):
    model = make_model(tmp_path / "model")
    os.mkfifo(model / "README.md")
    with pytest.raises(InvalidInput, match="neither"):
        check_model_directory(model)


@pytest.mark.parametrize("target", ["../other.safetensors", "/x.safetensors", "gone.safetensors"])
def test_an_index_may_only_name_its_neighbours(tmp_path, target):
    model = make_model(tmp_path / "model")
    index = {"weight_map": {"a": target}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(InvalidInput, match="index"):
        check_model_directory(model)


@pytest.mark.parametrize("value", ["/etc/passwd", "../x", "~/x", "http://x/y", "a\\b"])
def test_a_config_may_not_point_elsewhere(tmp_path, value):
    model = make_model(tmp_path / "model")
    text = json.dumps({"vocab_file": value})
    (model / "tokenizer_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match="points to"):
        check_model_directory(model)


def test_where_a_model_once_lay_is_no_offence(tmp_path):
    check_model_directory(make_model(tmp_path / "model", _name_or_path="/home/me/model"))


def test_an_adapter_is_no_base_model(tmp_path):
    model = make_model(tmp_path / "model")
    make_adapter(model, base_model_name_or_path="/somewhere/else")
    with pytest.raises(InvalidInput, match="adapter"):
        check_model_directory(model)


def test_a_model_needs_config_weights_and_no_quantisation(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="config.json is missing"):
        check_model_directory(tmp_path / "empty")
    model = make_model(tmp_path / "model", quantization_config={"quant_method": "gptq"})
    with pytest.raises(InvalidInput, match="gptq"):
        check_model_directory(model)
    make_model(model)
    (model / "model.safetensors").unlink()
    with pytest.raises(InvalidInput, match="no .safetensors"):
        check_model_directory(model)


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, '{"a": "\udc80"}'])
def test_a_config_that_is_none_is_refused(tmp_path, text):
    model = make_model(tmp_path / "model")
    (model / "config.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InvalidInput):
        check_model_directory(model)


def test_a_weight_file_that_is_none_is_refused(tmp_path):
    model = make_model(tmp_path / "model")
    for content in (b"", b"short", struct.pack("<Q", 2**40) + b"{}", struct.pack("<Q", 2) + b"[x"):
        (model / "model.safetensors").write_bytes(content)
        with pytest.raises(InvalidInput, match="not a safetensors file"):
            count_parameters(model)


def test_an_adapter_is_lora_in_safetensors_and_imports_nothing(tmp_path):
    check_adapter_directory(make_adapter(tmp_path / "good", base_model_name_or_path="../../x"))
    with pytest.raises(InvalidInput, match="only LORA"):
        check_adapter_directory(make_adapter(tmp_path / "prefix", peft_type="PREFIX_TUNING"))
    with pytest.raises(InvalidInput, match="megatron"):
        check_adapter_directory(make_adapter(tmp_path / "megatron", megatron_config={"a": 1}))
    pickled = make_adapter(tmp_path / "pickled")
    (pickled / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(InvalidInput, match=r"\.bin"):
        check_adapter_directory(pickled)
    (pickled / "adapter_model.bin").unlink()
    (pickled / "adapter_model.safetensors").unlink()
    with pytest.raises(InvalidInput, match="missing"):
        check_adapter_directory(pickled)


def test_a_model_that_is_not_there_is_told_without_the_place(store: ModelStore) -> None:
    put(store)
    with pytest.raises(NotFound, match="there are: tiny") as missing:
        store.path("other")
    assert str(store.root) not in missing.value.message
