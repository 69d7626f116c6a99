"""Pages that repeat what the code says are held against it."""

import ast
import inspect
import re
from operator import attrgetter
from pathlib import Path

import pytest
from openai import OpenAI

from api.app import create_app
from core.settings import Settings
from workers.doctor import FLOORS

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(r"^\| `TUNEYARD_([A-Z_]+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def test_the_table_of_settings_names_each_with_its_default():
    page = (Path(__file__).resolve().parent.parent / "docs/settings.md").read_text(encoding="utf-8")
    written = {name.lower(): default for name, default, _ in ROW.findall(page)}
    assert list(written) == list(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        if field.default in (None, ""):
            continue  # derived from other settings; the page says from which
        plain = str(field.default).lower() if isinstance(field.default, bool) else field.default
        assert written[name] == f"`{plain}`", name


def test_the_table_of_security_floors_is_the_doctors():
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    section = page.partition("## Security floors")[2]
    written = dict(re.findall(r"^\| `([a-z-]+)` \| ([0-9.]+) \|", section, re.MULTILINE))
    assert written == FLOORS


def test_every_metric_is_explained_and_none_that_is_not_there():
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    code = "".join(
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("api/routes/metrics.py", "api/figures.py")
    )
    made = set(re.findall(r'"(tuneyard_[a-z_]+)"', code))
    made |= {"tuneyard_sweep_lag_seconds", "tuneyard_retain_lag_seconds"}  # put together there
    suffix = re.compile(r"_(total|count|sum|bucket)$")
    explained = {suffix.sub("", name) for name in re.findall(r"tuneyard_[a-z_]+", page)}
    assert explained == made


PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
EXAMPLES = sorted((ROOT / "docs/api").glob("*.md"))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def blocks(page: Path, *languages: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"```(?:{'|'.join(languages)})\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_examples_in_python_call_what_the_sdk_has(page: Path):
    client = OpenAI(api_key="none", base_url="http://127.0.0.1/v1")
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            # Not what is called on an answer: `client.files.content(…).text()`.
            if re.fullmatch(r"client(\.\w+)+", name):
                called = attrgetter(name.removeprefix("client."))(client)
                known = inspect.signature(called).parameters
                assert {word.arg for word in node.keywords} <= known.keys(), ast.unparse(node)


@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_examples_by_curl_ask_paths_that_there_are(page: Path):
    paths = create_app().openapi()["paths"]
    routes = [re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)) for path in paths]
    for block in blocks(page, "bash", "sh"):
        for path in re.findall(r"\$BASE\"?((?:/[^\s\"'?]+)+)", block):
            assert any(route.fullmatch(f"/v1{path}") for route in routes), path


@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_examples_reach_the_platform_where_it_is(page: Path):
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"127\.0\.0\.1:\d+[^\s\"`)]*", text)) <= {"127.0.0.1:8400/v1"}
    asking = "\n".join(block for block in blocks(page, "bash", "sh") if "curl" in block)
    assert set(re.findall(r"\$(\w*(?:BASE|URL|TUNEYARD)\w*)", asking)) <= {"BASE"}
    assert "$BASE" not in asking or re.search(r"BASE=|`\$BASE` the platform", text)
