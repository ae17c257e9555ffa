"""Turns: who has many requests waits for themselves, and callers are served in turn."""

from __future__ import annotations

import asyncio

from qpu_executor.manager.api.load import AMONG_OTHERS, AT_WORK, AT_WORK_PER_CALLER, Turns


class Scene:
    """Turns on a clock that is set by hand; `order`: who had theirs."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.turns = Turns(lambda: self.now_s)
        self.order: list[str] = []
        self.waiting: list[asyncio.Task[None]] = []

    async def ask(self, *callers: str) -> None:
        async def one(caller: str) -> None:
            await self.turns.take(caller)
            self.order.append(caller)

        self.waiting += [asyncio.create_task(one(caller)) for caller in callers]
        await self.settle()

    async def settle(self) -> None:
        for _ in range(3):  # everything that can go on has gone on
            await asyncio.sleep(0)

    async def give_back(self, *callers: str) -> None:
        for caller in callers:
            self.turns.give_back(caller)
            await self.settle()

    def close(self) -> None:
        for one in self.waiting:
            one.cancel()


async def test_lone_caller_has_a_few_at_work_and_the_rest_in_order() -> None:
    scene = Scene()
    await scene.ask(*["a"] * 20)
    assert len(scene.order) == AT_WORK_PER_CALLER
    await scene.give_back("a")
    assert len(scene.order) == AT_WORK_PER_CALLER + 1
    scene.close()


async def test_another_caller_goes_at_once_and_the_flood_has_fewer_from_then_on() -> None:
    scene = Scene()
    await scene.ask(*["a"] * 20, "b")
    assert scene.order.count("b") == 1
    await scene.give_back("b", *["a"] * (AT_WORK_PER_CALLER - AMONG_OTHERS))
    assert scene.order.count("a") == AT_WORK_PER_CALLER, "none of its others yet"
    await scene.give_back("a")
    assert scene.order.count("a") == AT_WORK_PER_CALLER + 1
    scene.close()


async def test_flood_has_all_its_turns_again_once_nobody_else_asks() -> None:
    scene = Scene()
    await scene.ask(*["a"] * 30, "b")
    await scene.give_back("b", *["a"] * (AT_WORK_PER_CALLER - 1))
    assert scene.order.count("a") == AT_WORK_PER_CALLER + 1
    scene.now_s = 2.0
    await scene.give_back("a")
    assert scene.order.count("a") == AT_WORK_PER_CALLER + 1 + AT_WORK_PER_CALLER - 1
    scene.close()


async def test_lines_are_served_in_turn_when_all_places_are_taken() -> None:
    scene = Scene()
    crowd = [f"u{i}" for i in range(AT_WORK)]
    await scene.ask(*crowd)
    await scene.ask("a", "a", "a", "b", "b", "c")
    assert scene.order == crowd
    await scene.give_back(*crowd[:6])
    assert scene.order[AT_WORK:] == ["a", "b", "c", "a", "b"]
    scene.close()


async def test_whoever_stops_waiting_takes_no_turn() -> None:
    scene = Scene()
    await scene.ask(*["a"] * (AT_WORK_PER_CALLER + 2))
    scene.waiting[AT_WORK_PER_CALLER].cancel()
    await scene.settle()
    await scene.give_back("a")
    assert len(scene.order) == AT_WORK_PER_CALLER + 1
    await scene.give_back(*["a"] * (AT_WORK_PER_CALLER - 1))
    await scene.ask(*["a"] * AT_WORK_PER_CALLER)
    assert len(scene.order) == 2 * AT_WORK_PER_CALLER, "no place was lost"
    scene.close()
