"""Each operator of a step is counted for what it is for."""

import pytest

from benchmarks.training import profile

VOCABULARY = 49_152


@pytest.mark.parametrize(
    ("name", "shapes", "kind"),
    [
        ("aten::mm", [[1271, 576], [576, 1536]], profile.LAYERS),
        ("aten::addmm", [[576], [1271, 1536], [1536, 576], [], []], profile.LAYERS),
        ("aten::mm", [[1271, 576], [576, 16]], profile.LORA),
        ("aten::mm", [[48, 1271], [1271, 576]], profile.LORA),
        ("aten::mm", [[256, 576], [576, VOCABULARY]], profile.HEAD),
        ("aten::_softmax", [[256, VOCABULARY], [], []], profile.HEAD),
        ("aten::baddbmm_", [[9, 1040, 231], [9, 1040, 64], [9, 64, 231]], profile.ATTENTION),
        ("bitsandbytes::int8_vectorwise_dequant", [[576, 576], [576]], profile.QUANTISED),
        ("aten::silu", [[1271, 1536]], profile.POINTWISE),
        ("aten::copy_", [[1271, 1536], [1271, 1536]], profile.OTHER),
    ],
)
def test_an_operator_has_the_kind_that_its_name_and_shapes_say(name, shapes, kind):
    assert profile.kind_of(name, shapes, VOCABULARY) == kind


def test_a_profile_is_shown_with_shares_and_how_far_the_limit_is():
    step = {"seconds": 4.0, "kinds": {profile.LAYERS: 3.0, profile.OTHER: 1.0}, "operations": 2e11}
    told = profile.section({"model": "m", "batch": 16, "peak": 1e11, "steps": {"fp32": step}})
    assert "come to 50 GFLOP/s over the whole of it; large products alone reach 100" in told
    assert "so 50% of the limit" in told
    assert f"| {profile.LAYERS} | 3.00 | 75% |" in told
