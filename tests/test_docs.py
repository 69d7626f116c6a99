"""Pages that repeat what the code says are held against it."""

import re
from pathlib import Path

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
