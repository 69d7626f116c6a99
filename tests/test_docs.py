"""Pages that repeat what the code says are held against it."""

import re
from pathlib import Path

from core.settings import Settings

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
