"""Build the shims that ship as C source; gcc, or what $CC names, must be there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def build_shim(directory: Path, name: str = "i2c_shim") -> Path:
    """Compile `<name>.c` of this package to a library for LD_PRELOAD.

    Args:
        directory: where to put it.
        name: name of the source without its suffix.

    Raises:
        FileNotFoundError: there is no C compiler.
        subprocess.CalledProcessError: it does not compile.
    """
    return compile_shim(Path(__file__).with_name(f"{name}.c"), directory)


def compile_shim(source: Path, directory: Path) -> Path:
    """Compile any C source to a library for LD_PRELOAD.

    Args:
        source: the C source.
        directory: where to put the library.

    Raises:
        FileNotFoundError: there is no C compiler.
        subprocess.CalledProcessError: it does not compile.
    """
    compiler = shutil.which(os.environ.get("CC", "gcc"))
    if compiler is None:
        raise FileNotFoundError("the shim needs a C compiler: install gcc, or name one in CC")
    library = directory / f"{source.stem}.so"
    options = ["-O2", "-U_FORTIFY_SOURCE", "-Wall", "-Werror", "-shared", "-fPIC"]
    command = [compiler, *options, "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library
