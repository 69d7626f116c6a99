"""llama.cpp from the sources inside llama-cpp-python's sdist, for this very CPU: one build serves
the Python bindings and llama-server, so that both run the same kernels. Needs a C++ compiler."""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "llama-cpp-python"
OPTIONS = (
    *("-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON"),
    *("-DLLAMA_BUILD_SERVER=ON", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"),
    *("-DLLAMA_BUILD_APP=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF"),
)
NATIVE = ("-DGGML_NATIVE=ON",)
# What a CPU with AMX has beside it for 8-bit weights. llama.cpp's AMX kernels end in an illegal
# instruction: they clear tiles that nobody has configured (tilezero in tinygemm_kernel_amx, seen on
# Sapphire Rapids).
WITHOUT_AMX = (
    *("-DGGML_NATIVE=OFF", "-DGGML_SSE42=ON", "-DGGML_AVX=ON", "-DGGML_AVX2=ON", "-DGGML_FMA=ON"),
    *("-DGGML_F16C=ON", "-DGGML_BMI2=ON", "-DGGML_AVX512=ON", "-DGGML_AVX512_VBMI=ON"),
    "-DGGML_AVX512_VNNI=ON",
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
    kind = WITHOUT_AMX if "amx_tile" in Path("/proc/cpuinfo").read_text() else NATIVE
    subprocess.run([cmake, "-S", sources(home), "-B", made, ninja, *OPTIONS, *kind], check=True)
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
