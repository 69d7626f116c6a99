"""Models and adapters are loaded as asked, or refused; never silently otherwise."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from core.errors import JobFailure
from tests.tiny_model import build_tiny_model
from workers.ml.loading import load_adapter, load_base, resolve_precision, weight_bytes


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapter_dir(tiny_dir, tmp_path_factory):
    torch.manual_seed(5)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "v_proj", "gate_proj", "down_proj"],
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    directory = tmp_path_factory.mktemp("adapter")
    get_peft_model(load_base(tiny_dir, precision="fp32").model, config).save_pretrained(directory)
    return directory


@pytest.fixture
def adapter(adapter_dir, tmp_path):
    return shutil.copytree(adapter_dir, tmp_path / "adapter")


def rewrite(path, **changes):
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(config), encoding="utf-8")


def first_logits(loaded):
    with torch.inference_mode():
        return loaded.model(torch.tensor([[5, 6, 7, 8]])).logits.float()


def test_8bit_counts_its_layers_and_halves_their_bytes(tiny_dir):
    plain = load_base(tiny_dir, precision="bf16")
    eight = load_base(tiny_dir, quantization="8bit", precision="bf16")
    assert plain.quantized_layers == 0
    assert eight.quantized_layers == 2 * 7
    assert eight.dtype == torch.bfloat16
    linear = sum(
        p.numel() for name, p in plain.model.named_parameters() if name.endswith("proj.weight")
    )
    saved = plain.weight_bytes - eight.weight_bytes
    assert 0.8 * linear < saved < linear  # one byte of two, less a scale for each row
    assert plain.weight_bytes == weight_bytes(plain.model)


def test_4bit_counts_its_layers_and_quarters_their_bytes(tiny_dir):
    plain = load_base(tiny_dir, precision="bf16")
    four = load_base(tiny_dir, quantization="4bit", precision="bf16")
    assert four.quantized_layers == 2 * 7
    assert four.dtype == torch.bfloat16
    linear = sum(
        p.numel() for name, p in plain.model.named_parameters() if name.endswith("proj.weight")
    )
    saved = plain.weight_bytes - four.weight_bytes
    assert 1.4 * linear < saved < 1.5 * linear  # half a byte of two, and a scale for each 64


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_a_quantization_that_no_layer_takes_is_a_failure(tiny_dir, monkeypatch, quantization):
    monkeypatch.setattr("workers.ml.quantization.kind_of", lambda module: "none")
    with pytest.raises(JobFailure, match="no layer") as failure:
        load_base(tiny_dir, quantization=quantization)
    assert failure.value.klass == "config"


def test_8bit_without_bitsandbytes_native_library_is_a_failure(tiny_dir, monkeypatch):
    from bitsandbytes import cextension

    broken = cextension.ErrorHandlerMockBNBNativeLibrary("no library")
    monkeypatch.setattr(cextension, "lib", broken)
    with pytest.raises(JobFailure, match="native library"):
        load_base(tiny_dir, quantization="8bit")


def test_no_line_is_logged_for_every_8bit_product(tiny_dir, caplog):
    loaded = load_base(tiny_dir, quantization="8bit", precision="bf16")
    first_logits(loaded)
    assert "MatMul8bitLt" not in caplog.text


def test_precisions_are_resolved_or_refused(monkeypatch):
    assert resolve_precision("fp32", "cpu") == torch.float32
    assert resolve_precision("bf16", "cpu") == torch.bfloat16
    monkeypatch.setattr("workers.ml.loading._cpu_computes_bf16", lambda: False)
    assert resolve_precision("auto", "cpu") == torch.float32
    monkeypatch.setattr("workers.ml.loading._cpu_computes_bf16", lambda: True)
    assert resolve_precision("auto", "cpu") == torch.bfloat16
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **options: False)
    assert resolve_precision("auto", "cuda:0") == torch.float16
    for wrong in ("fp16", "int8"):
        with pytest.raises(JobFailure, match="fp32"):
            resolve_precision(wrong, "cpu")


def test_pickled_weights_and_code_are_refused_before_loading(tiny_dir, tmp_path):
    for name in ("pytorch_model.bin", "modeling_evil.py"):
        copy = shutil.copytree(tiny_dir, tmp_path / name)
        (copy / name).write_text("import os", encoding="utf-8")
        with pytest.raises(JobFailure, match=name) as failure:
            load_base(copy)
        assert failure.value.klass == "config"


def test_a_model_whose_weights_are_cut_off_is_refused(tiny_dir, tmp_path):
    copy = shutil.copytree(tiny_dir, tmp_path / "model")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(JobFailure, match="can't be loaded"):
        load_base(copy)


def test_an_adapter_is_live_and_like_pefts_own(tiny_dir, adapter):
    ours = load_adapter(load_base(tiny_dir, precision="fp32"), adapter)
    theirs = PeftModel.from_pretrained(load_base(tiny_dir, precision="fp32").model, adapter).eval()
    base = first_logits(load_base(tiny_dir, precision="fp32"))
    with torch.inference_mode():
        expected = theirs(torch.tensor([[5, 6, 7, 8]])).logits
    assert torch.equal(first_logits(ours), expected)
    assert not torch.allclose(expected, base, atol=1e-2)


def test_an_adapter_takes_the_models_dtype(tiny_dir, adapter):
    loaded = load_adapter(load_base(tiny_dir, quantization="8bit", precision="bf16"), adapter)
    kinds = {p.dtype for name, p in loaded.model.named_parameters() if "lora_" in name}
    assert kinds == {torch.bfloat16}
    assert loaded.quantized_layers == 2 * 7


def test_a_base_model_that_an_adapter_names_is_not_followed(tiny_dir, adapter, tmp_path):
    honest = first_logits(load_adapter(load_base(tiny_dir, precision="fp32"), adapter))
    elsewhere = build_tiny_model(tmp_path / "elsewhere", seed=9)
    rewrite(
        adapter / "adapter_config.json",
        base_model_name_or_path=str(elsewhere),
        auto_mapping={"base_model_class": "Evil", "parent_library": "evil"},
        revision="main",
    )
    redirected = load_adapter(load_base(tiny_dir, precision="fp32"), adapter)
    assert torch.equal(first_logits(redirected), honest)


def test_hostile_adapters_are_refused_before_loading(tiny_dir, adapter):
    loaded = load_base(tiny_dir, precision="fp32")
    rewrite(adapter / "adapter_config.json", megatron_config={"a": 1}, megatron_core="evil")
    with pytest.raises(JobFailure, match="megatron"):
        load_adapter(loaded, adapter)
    rewrite(adapter / "adapter_config.json", megatron_config=None)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(JobFailure, match="adapter_model.bin"):
        load_adapter(loaded, adapter)


def test_an_adapter_of_another_shape_is_refused(adapter, tmp_path):
    deeper = load_base(build_tiny_model(tmp_path / "deeper", layers=3), precision="fp32")
    with pytest.raises(JobFailure, match="does not fit"):
        load_adapter(deeper, adapter)
    shallower = load_base(build_tiny_model(tmp_path / "shallower", layers=1), precision="fp32")
    with pytest.raises(JobFailure, match="does not fit"):
        load_adapter(shallower, adapter)
    rewrite(adapter / "adapter_config.json", r=8)
    fitting = load_base(build_tiny_model(tmp_path / "fitting"), precision="fp32")
    with pytest.raises(JobFailure, match="does not fit"):
        load_adapter(fitting, adapter)


def test_weights_that_no_setting_accounts_for_are_refused(tiny_dir, adapter):
    from safetensors.torch import load_file, save_file

    weights = load_file(adapter / "adapter_model.safetensors")
    weights["base_model.model.model.embed_tokens.token_adapter.delta"] = torch.ones(2, 64)
    save_file(weights, adapter / "adapter_model.safetensors")
    with pytest.raises(JobFailure, match="left over"):
        load_adapter(load_base(tiny_dir, precision="fp32"), adapter)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e39])
def test_an_adapter_that_is_no_numbers_in_the_models_dtype_is_refused(tiny_dir, adapter, bad):
    from safetensors.torch import load_file, save_file

    weights = load_file(adapter / "adapter_model.safetensors")
    name, tensor = next(iter(weights.items()))
    weights[name] = tensor.double()
    weights[name][0, 0] = bad
    save_file(weights, adapter / "adapter_model.safetensors")
    with pytest.raises(JobFailure, match="lora_A.*holds NaN or infinity in fp32"):
        load_adapter(load_base(tiny_dir, precision="fp32"), adapter)
