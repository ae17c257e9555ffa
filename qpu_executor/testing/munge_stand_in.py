"""A libmunge for tests of clients that load it: every credential says the same.

It says nothing about who is asking, so it is good for stand-ins that don't look.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

_SOURCE = """
#include <string.h>
int munge_encode(char **credential, void *context, const void *payload, int length) {
    *credential = strdup("MUNGE:stand-in:");
    return 0;
}
const char *munge_strerror(int error) { return "stand-in"; }
"""


def load_munge_stand_in(directory: Path) -> bool:
    """From now on this process finds this libmunge. False where no compiler is installed.

    A library that is loaded is found by its name by everything that loads it later.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        return False
    source, library = directory / "munge.c", directory / "libmunge.so.2"
    source.write_text(_SOURCE, "utf-8")
    command = [compiler, "-shared", "-fPIC", "-Wl,-soname,libmunge.so.2"]
    subprocess.run(  # noqa: S603  # our own source
        [*command, "-o", str(library), str(source)], check=True
    )
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    return True
