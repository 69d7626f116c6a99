"""`connection.json`: how to reach a platform of this machine. Whoever can read it is admin."""

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

FILE_NAME = "connection.json"


@dataclass(frozen=True)
class Connection:
    """`pids` is empty unless the platform is up and was ready."""

    base_url: str = ""
    api_key: str = ""
    flower_url: str = ""
    flower_user: str = ""
    flower_password: str = ""
    pids: dict[str, int] = field(default_factory=dict)


def read_connection(data_dir: Path) -> Connection:
    """What the last `up` wrote; an empty one if there is none, or none that can be read."""
    try:
        data = json.loads((data_dir / FILE_NAME).read_text(encoding="utf-8"))
        return Connection(**{one.name: data[one.name] for one in fields(Connection)})
    except (OSError, ValueError, KeyError, TypeError):
        return Connection()


def write_connection(data_dir: Path, connection: Connection) -> None:
    """In one step, and readable by its owner alone from the first byte on."""
    target = data_dir / FILE_NAME
    fresh = target.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(connection), file, ensure_ascii=False, indent=2)
        file.write("\n")
    fresh.replace(target)
