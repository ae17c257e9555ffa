"""Functions of a pipeline: found in its own folder first, checked before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qpu_executor.errors import ConfigError
from qpu_executor.pipelines.functions import check_arguments, resolve, source_hash


@pytest.fixture(autouse=True)
def _clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - before:
        if name.startswith("pipe_"):
            del sys.modules[name]


def test_function_is_found_in_the_pipelines_folder(tmp_path: Path) -> None:
    (tmp_path / "pipe_a.py").write_text("def f(x): return x + 1\n")
    assert resolve(tmp_path, "pipe_a.f")(1) == 2


def test_function_of_a_package_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "pipe_pkg").mkdir()
    (tmp_path / "pipe_pkg" / "__init__.py").write_text("")
    (tmp_path / "pipe_pkg" / "inner.py").write_text("def f(): return 5\n")
    assert resolve(tmp_path, "pipe_pkg.inner.f")() == 5


def test_installed_function_is_found(tmp_path: Path) -> None:
    assert resolve(tmp_path, "json.dumps")([1]) == "[1]"


def test_second_pipeline_with_the_same_module_name_gets_its_own(tmp_path: Path) -> None:
    for name, value in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pipe_same.py").write_text(f"def f(): return {value}\n")
    assert resolve(tmp_path / "one", "pipe_same.f")() == 1
    assert resolve(tmp_path / "two", "pipe_same.f")() == 2


def test_module_that_hides_a_standard_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("def dumps(x): return 'mine'\n")
    with pytest.raises(ConfigError, match=r"the module name 'json' is taken by .*rename"):
        resolve(tmp_path, "json.dumps")


def test_unknown_function_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "pipe_b.py").write_text("def best_set(): ...\nvalue = 3\n")
    with pytest.raises(ConfigError, match=r"no function 'bestset'; did you mean 'best_set'\?"):
        resolve(tmp_path, "pipe_b.bestset")
    with pytest.raises(ConfigError, match="'value' is a int, not a function"):
        resolve(tmp_path, "pipe_b.value")


def test_unknown_module_names_the_nearest_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "pipe_transmitters.py").write_text("")
    with pytest.raises(ConfigError, match=r"did you mean 'pipe_transmitters'\?"):
        resolve(tmp_path, "pipe_transmiters.f")


def test_module_that_raises_shows_the_users_traceback_only(tmp_path: Path) -> None:
    (tmp_path / "pipe_c.py").write_text("\n\nraise ZeroDivisionError('oh')\n")
    with pytest.raises(ConfigError) as caught:
        resolve(tmp_path, "pipe_c.f")
    text = str(caught.value)
    assert "ZeroDivisionError: oh" in text
    assert 'pipe_c.py", line 3' in text
    assert "qpu_executor" not in text
    assert "importlib" not in text


def test_module_that_exits_when_it_is_imported_is_said_to(tmp_path: Path) -> None:
    (tmp_path / "pipe_script.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(ConfigError, match="module 'pipe_script' can't be imported: SystemExit: 0"):
        resolve(tmp_path, "pipe_script.main")


def test_missing_import_inside_the_module_is_not_called_an_unknown_module(tmp_path: Path) -> None:
    (tmp_path / "pipe_d.py").write_text("import pipe_not_there\n")
    with pytest.raises(ConfigError, match="module 'pipe_d' can't be imported"):
        resolve(tmp_path, "pipe_d.f")


def f(graph: object, duration_ns: int, steps: int = 3) -> None:
    """For its signature."""


def test_arguments_that_fit_are_no_problem() -> None:
    assert check_arguments(f, "m.f", ["graph", "duration_ns"]) == []


def test_missing_and_unknown_arguments_are_named_with_the_signature() -> None:
    wrong = check_arguments(f, "m.f", ["graph", "duration"])
    assert len(wrong) == 1
    assert "unknown argument 'duration'; did you mean 'duration_ns'?" in wrong[0]
    wrong = check_arguments(f, "m.f", ["graph", "zzz"])
    assert len(wrong) == 2
    assert "unknown argument 'zzz' (" in wrong[0]
    assert "missing argument 'duration_ns'" in wrong[1]
    assert "m.f(graph: 'object', duration_ns: 'int', steps: 'int' = 3)" in wrong[1]


def test_hybrid_function_must_take_its_session() -> None:
    assert (
        "must take an argument 'qpu'"
        in check_arguments(f, "m.f", ["graph", "duration_ns"], ["qpu"])[0]
    )
    assert check_arguments(lambda qpu, x: 0, "m.f", ["x"], ["qpu"]) == []
    assert "supplied by the run" in check_arguments(lambda qpu: 0, "m.f", ["qpu"], ["qpu"])[0]


def test_source_hash_ignores_comments_and_sees_changes(tmp_path: Path) -> None:
    texts = ["def f(x):\n    return x\n", "def f(x):\n\n    # why\n    return x\n",
             "def f(x):\n    return -x\n"]  # fmt: skip
    hashes = []
    for i, text in enumerate(texts):
        (tmp_path / f"pipe_h{i}.py").write_text(text)
        hashes.append(source_hash(resolve(tmp_path, f"pipe_h{i}.f")))
    assert hashes[0] == hashes[1] != hashes[2]
