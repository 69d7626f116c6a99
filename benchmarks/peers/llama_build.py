"""llama.cpp from the sources inside llama-cpp-python's sdist, for this very CPU: one build serves
the Python bindings and llama-server, so that both run the same kernels. Needs a C++ compiler."""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "llama-cpp-python"
OPTIONS = (
    *("-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=ON"),
    *("-DLLAMA_BUILD_SERVER=ON", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"),
    *("-DLLAMA_BUILD_APP=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF"),
)


def sources(home: Path) -> Path:
    """llama.cpp's tree in a peer's environment, its converters among it."""
    return next((home / "source").glob("llama_cpp_python-*/vendor/llama.cpp"))


def server(home: Path) -> Path:
    return home / "build/bin/llama-server"


def build(home: Path) -> None:
    """Fetch the sdist of the bindings in `home`, build, and give them their libraries."""
    source, binaries = home / "source", home / "bin"
    bindings = next(home.glob("lib/python3*/site-packages/llama_cpp"))
    version = next(bindings.parent.glob("llama_cpp_python-*.dist-info")).stem.split("-")[1]
    if not source.exists():
        _fetch(source, [str(binaries / "python"), "-m", "pip"], version)
    cmake = str(binaries / "cmake")
    ninja = f"-DCMAKE_MAKE_PROGRAM={binaries / 'ninja'}"
    made = home / "build"
    subprocess.run([cmake, "-S", sources(home), "-B", made, ninja, *OPTIONS], check=True)
    subprocess.run([cmake, "--build", made, "--target", "llama-server"], check=True)
    (bindings / "lib").mkdir(exist_ok=True)
    for library in made.glob("bin/*.so*"):
        shutil.copy2(library, bindings / "lib")


def _fetch(source: Path, pip: list[str], version: str) -> None:
    """Unpack the sdist into `source`, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=source.parent) as partial:
        command = [*pip, "download", "--quiet", "--no-deps", "--no-binary", PACKAGE]
        subprocess.run([*command, "--dest", partial, f"{PACKAGE}=={version}"], check=True)
        (unpacked := Path(partial) / "source").mkdir()
        with tarfile.open(next(Path(partial).glob("*.tar.gz"))) as archive:
            archive.extractall(unpacked, filter="data")
        unpacked.rename(source)
