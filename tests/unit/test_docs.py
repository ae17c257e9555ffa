"""The documentation against the product: links, examples, verbs, keys, routes, diagrams."""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import typer

from qpu_executor import errors
from qpu_executor.cli import main
from qpu_executor.errors import error_types
from qpu_executor.manager.api import events, policy, sessions, site, tasks
from qpu_executor.model.states import ChunkState, QpuState, TaskState, WaitReason
from qpu_executor.pipelines.document import Document, SessionWishes, Step, load
from qpu_executor.pipelines.profiles import Classical, Profile, TaskDefaults, load_profile
from qpu_executor.qpus.emulator_settings import EmulatorSettings
from qpu_executor.qpus.job_service_settings import JobServiceSettings
from qpu_executor.qpus.pasqal_cloud_settings import PasqalCloudSettings
from qpu_executor.qpus.pasqal_controller.settings import ControllerSettings
from qpu_executor.qpus.qrmi_settings import QrmiSettings
from qpu_executor.qpus.registry import build_adapter
from qpu_executor.scheduling.transitions import CHUNK_MOVES, TASK_MOVES, state_diagram
from qpu_executor.settings import (
    JobClassSettings,
    ManagerSettings,
    SiteSettings,
    StoreSettings,
    parse_site,
)
from qpu_executor.wire.sessions import KeepWarmRequest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(DOCS.glob("*.md")),
    *sorted(DOCS.glob("qpus/*.md")),
    *sorted(DOCS.glob("policies/*.md")),
    *sorted(DOCS.glob("operations/*.md")),
]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: what stands after the fence, and the text in it."""

    page: str
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(info: str) -> list[Block]:
    """All blocks whose fence says `info`, of all pages."""
    return [block for page in PAGES for block in _blocks_of(page) if block.info == info]


def _blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in FENCE.finditer(text):
        indent = len(found[1])
        body = "".join(line[indent:] for line in found[3].splitlines(keepends=True))
        yield Block(page.name, text.count("\n", 0, found.start()) + 1, found[2].strip(), body)


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as links write them."""
    prose = FENCE.sub("", page.read_text("utf-8"))
    names = [re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(prose)]
    return {name.strip().replace(" ", "-") for name in names}


def words_in_code(page: str) -> set[str]:
    """Everything that a page writes between backticks, also the parts of it."""
    spans = re.findall(r"`([^`\n]+)`", (DOCS / page).read_text("utf-8"))
    return {word for span in spans for word in [span, *re.split(r"[^\w/{}-]+", span)]}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    prose = FENCE.sub("", page.read_text("utf-8"))
    dead = []
    for link in LINK.findall(prose):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_every_page_is_linked_from_the_index() -> None:
    linked = set(LINK.findall((DOCS / "index.md").read_text("utf-8")))
    assert {page.name for page in DOCS.glob("*.md")} - {"index.md"} <= linked


@pytest.mark.parametrize("moves", [TASK_MOVES, CHUNK_MOVES], ids=["task", "chunk"])
def test_state_diagrams_are_those_of_the_tables(moves: Any) -> None:
    shown = [block.text for block in blocks("mermaid") if block.page == "design.md"]
    assert state_diagram(moves) in shown


def test_every_verb_has_its_section_with_all_of_its_options() -> None:
    main._register()
    text = (DOCS / "cli.md").read_text("utf-8")
    sections = dict(re.findall(r"^## qpu (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    group: Any = typer.main.get_command(main.app)
    verbs = group.commands
    assert set(sections) == set(verbs)
    # Said once for all verbs, above the sections.
    everywhere = {"--manager", "--json", "--help"}
    for verb, command in verbs.items():
        options = {
            name
            for param in command.params
            if not getattr(param, "hidden", False)
            for name in param.opts
            if name.startswith("--")
        }
        missing = [name for name in options - everywhere if f"`{name}" not in sections[verb]]
        assert missing == [], f"qpu {verb}"


def test_every_pipeline_in_the_docs_is_one(tmp_path: Path) -> None:
    found = blocks("yaml pipeline")
    assert len(found) >= 3
    for block in found:
        path = tmp_path / "pipeline.yaml"
        path.write_text(block.text, "utf-8")
        load(path, str(block))


def test_every_site_file_in_the_docs_is_one() -> None:
    found = blocks("yaml site")
    assert len(found) >= 2
    for block in found:
        for name, qpu in parse_site(block.text, str(block)).qpus.items():
            build_adapter(qpu.kind, name, qpu.adapter_settings())


def test_every_profile_in_the_docs_is_one(tmp_path: Path) -> None:
    found = blocks("yaml profile")
    assert found != []
    for block in found:
        path = tmp_path / "profile.yaml"
        path.write_text(block.text, "utf-8")
        load_profile(str(path))


def test_python_in_the_docs_compiles_and_imports_what_there_is() -> None:
    found = blocks("python")
    assert len(found) >= 5
    for block in found:
        tree = ast.parse(block.text, str(block))
        # Snippets may stand where an event loop runs.
        compile(tree, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("qpu_executor"):
                module = importlib.import_module(str(node.module))
                names = {one.name for one in node.names} - {"*"}
                missing = [name for name in names if not hasattr(module, name)]
                assert missing == [], str(block)


def test_every_key_of_a_pipeline_and_a_profile_is_explained() -> None:
    models = (Document, SessionWishes, KeepWarmRequest, Step, Profile, Classical, TaskDefaults)
    keys = {field.alias or name for model in models for name, field in model.model_fields.items()}
    assert keys - words_in_code("pipelines.md") == set()


def test_every_key_of_a_site_file_is_explained() -> None:
    models = (SiteSettings, ManagerSettings, JobClassSettings, StoreSettings)
    keys = {name for model in models for name in model.model_fields}
    keys |= {field.name for field in fields(EmulatorSettings)} | {"kind"}
    assert keys - words_in_code("site-file.md") == set()


def test_every_setting_of_a_controller_is_explained() -> None:
    assert (
        set(ControllerSettings.model_fields) - words_in_code("qpus/pasqal-controller.md") == set()
    )


def test_every_page_about_a_qpu_is_linked_from_their_index() -> None:
    linked = set(LINK.findall((DOCS / "qpus" / "index.md").read_text("utf-8")))
    assert {page.name for page in DOCS.glob("qpus/*.md")} - {"index.md"} <= linked


def test_every_setting_of_a_service_is_explained() -> None:
    every = set(JobServiceSettings.model_fields)
    assert every - words_in_code("qpus/pasqal-cloud.md") == set()
    for page, model in (("pasqal-cloud", PasqalCloudSettings), ("qrmi", QrmiSettings)):
        own = set(model.model_fields) - every
        assert own - words_in_code(f"qpus/{page}.md") == set()


@pytest.mark.parametrize("name", ["pasqal-cloud", "qrmi"])
def test_the_example_site_of_a_service_is_one(name: str) -> None:
    path = ROOT / "configs" / f"{name}.yaml"
    site = parse_site(path.read_text("utf-8"), str(path))
    for qpu_name, qpu in site.qpus.items():
        build_adapter(qpu.kind, qpu_name, qpu.adapter_settings())


def test_every_route_is_in_the_reference_of_the_api() -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    parts = (tasks, site, sessions, policy, events)
    routes: list[Any] = [one for part in parts for one in part.router.routes]
    missing = [
        f"{method} {route.path}"
        for route in routes
        for method in route.methods
        if f"`{method} {route.path}" not in text
    ]
    assert missing == []


def test_every_error_is_explained_with_its_code() -> None:
    text = (DOCS / "python.md").read_text("utf-8")
    # Tests of other modules may have added classes to the tree.
    ours = {code: cls for code, cls in error_types().items() if cls.__module__ == errors.__name__}
    rows = {f"| `{cls.__name__}` | `{code}` |" for code, cls in ours.items()}
    assert {row for row in rows if row not in text} == set()


def test_every_state_and_reason_is_in_the_glossary() -> None:
    sets = (TaskState, ChunkState, QpuState)
    states = {str(state) for one in sets for state in one} | {str(one) for one in WaitReason}
    assert states - words_in_code("glossary.md") == set()


def test_every_import_contract_is_explained() -> None:
    text = (DOCS / "layers.md").read_text("utf-8")
    contracts = [one["name"] for one in PYPROJECT["tool"]["importlinter"]["contracts"]]
    assert [name for name in contracts if name not in text] == []


def test_files_that_the_design_names_are_there() -> None:
    text = FENCE.sub("", (DOCS / "design.md").read_text("utf-8"))
    named = re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|md|yaml|sqlite))`", text)
    assert len(named) >= 20
    missing = {
        name for name in named if not (ROOT / name).exists() and not _in_package(name).exists()
    }
    assert missing == set()


def _in_package(name: str) -> Path:
    return ROOT / "qpu_executor" / name
