"""Lone surrogates in requests: refused before anything stores or hashes them."""

import json
from pathlib import Path

import pytest

from qpu_executor.cli.server_parts import build_site_policy
from qpu_executor.errors import RequestRefused
from qpu_executor.manager.api.half_characters import refuse_half_characters
from qpu_executor.settings import parse_site
from qpu_executor.testing.coins import coin_program
from qpu_executor.testing.local_api import LocalApi
from qpu_executor.testing.virtual_manager import VirtualManager

SITE = """
default_class: development
job_classes: {development: {priority: 100}}
qpus: {q: {kind: simulated-qpu, shot_rate_hz: 10}}
"""


@pytest.mark.parametrize(
    "body",
    [
        rb'{"a": "\ud800"}',
        rb'{"a": ["x", {"b": "y\uDFFFz"}]}',
        rb'{"\udc00": 1}',
        rb'"\ud83d \ude00"',
        rb'"\ude00\ud83d"',
    ],
)
def test_half_a_character_is_refused_wherever_it_stands(body: bytes) -> None:
    with pytest.raises(RequestRefused, match="half a character"):
        refuse_half_characters(body)


@pytest.mark.parametrize(
    "body",
    [rb'"\ud83d\ude00"', '"\N{GRINNING FACE}"'.encode(), rb'"\\ud800"', rb'{"a": "\ud800', b""],
)
def test_whole_characters_pass_and_what_is_no_json_is_for_others_to_say(body: bytes) -> None:
    refuse_half_characters(body)


async def test_no_route_takes_one_and_the_manager_goes_on(tmp_path: Path) -> None:
    settings = parse_site(SITE, "site.yaml")
    async with VirtualManager(settings, build_site_policy(settings), tmp_path) as served:
        api = LocalApi(served.manager)
        program = coin_program("x")
        sent = {"kind": program.kind, "content": program.content}
        half = json.loads(r'"\ud800"')
        for task in (
            {"program": sent, "shots": 1, "account": half},
            {"program": sent | {"content": half}, "shots": 1},
            {"program": sent, "shots": 1, "name": half},
        ):
            status, _, text = await api.ask("ada", "POST", "/v1/tasks", {"tasks": [task]})
            assert (status, "half a character" in text) == (400, True), task
        good = {"tasks": [{"program": sent, "shots": 1, "account": "\N{GRINNING FACE}"}]}
        answer = await api.asked("ada", "POST", "/v1/tasks", good)
        assert answer["items"][0]["task"]["account"] == "\N{GRINNING FACE}"
