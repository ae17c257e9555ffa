"""What is beside the code is in the wheel too."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "qpu_executor"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_every_file_that_is_no_python_is_packed() -> None:
    patterns = SETTINGS["tool"]["setuptools"]["package-data"]["qpu_executor"]
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    beside = {
        path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert PACKAGE / "embedded_site.yaml" in beside
    assert {path.relative_to(PACKAGE).as_posix() for path in beside - packed} == set()


def test_every_folder_with_python_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert {one for one in folders if not (one / "__init__.py").exists()} == set()
