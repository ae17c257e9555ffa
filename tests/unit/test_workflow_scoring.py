"""The transmitters workflow: independent sets, scores and the report."""

import importlib
import json
import random
import sys
from collections import Counter, namedtuple
from html.parser import HTMLParser
from pathlib import Path

import networkx as nx
import pytest

sys.path.append(str(Path(__file__).parents[2] / "workflows" / "transmitters"))
transmitters = importlib.import_module("transmitters")
sets = importlib.import_module("transmitters.independent_sets")

Result = namedtuple("Result", "counts qubit_ids duration_ns qpu device emulated")
NODES = "ABCD"
PATH = {  # A - B - C - D: three largest sets, AC, AD and BD
    "country": "FR",
    "airports": [{"code": c, "name": f"Airport {c}"} for c in NODES],
    "edges": [[0, 1], [1, 2], [2, 3]],
}


def measured(counts, duration_ns=1000, qubit_ids=tuple(NODES)):
    return Result(Counter(counts), qubit_ids, duration_ns, "emulator", "AnalogDevice", True)


@pytest.mark.parametrize("seed", range(25))
def test_the_exact_optimum_is_that_of_networkx(seed):
    chance = random.Random(seed)
    graph = nx.gnp_random_graph(chance.randint(1, 12), chance.random(), seed=seed)
    neighbours = sets.adjacency(len(graph), graph.edges)
    found = sets.largest(neighbours)
    cliques = [frozenset(c) for c in nx.find_cliques(nx.complement(graph))]
    size = max(map(len, cliques))
    assert {frozenset(sets.members(m)) for m in found} == {c for c in cliques if len(c) == size}
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("seed", range(10))
def test_a_repaired_set_is_independent_and_can_t_grow(seed):
    graph = nx.gnp_random_graph(8, 0.4, seed=seed)
    neighbours = sets.adjacency(8, graph.edges)
    for mask in range(256):
        repaired = sets.repaired(mask, neighbours)
        chosen = set(sets.members(repaired))
        assert not any(a in chosen and b in chosen for a, b in graph.edges)
        assert all(n in chosen or chosen & set(graph[n]) for n in graph)


def test_too_many_nodes_are_refused():
    with pytest.raises(ValueError, match="25 nodes"):
        sets.largest([0] * 25)


def test_made_up_counts_are_scored_without_repair():
    best = transmitters.best_set(PATH, measured({"1010": 30, "1100": 50, "1000": 20}))
    assert [a["code"] for a in best["found"]] == ["A", "C"]
    assert (best["size"], best["optimum_size"], best["optimal"]) == (2, 2, True)
    assert best["optimal_sets"] == [["A", "C"], ["A", "D"], ["B", "D"]]
    assert best["random_rate"] == 3 / 16
    assert best["hit_rate"] == 0.3
    assert best["ratio"] == pytest.approx(0.3 / (3 / 16))
    assert not best["physics_found_it"]
    (sweep,) = best["sweeps"]
    assert sweep["valid_rate"] == 0.5
    assert sweep["approximation_ratio"] == pytest.approx((30 * 2 + 20) / 200)
    assert best["after_repair"]["hit_rate"] == 1.0


def test_a_set_that_only_repair_would_find_isn_t_found():
    best = transmitters.best_set(PATH, [measured({"1111": 9, "0100": 1})])
    assert [a["code"] for a in best["found"]] == ["B"]
    assert best["optimal"] is False
    assert best["hit_rate"] == 0.0


def test_bits_belong_to_the_atoms_the_result_names():
    best = transmitters.best_set(PATH, [measured({"1100": 10}, qubit_ids=("D", "B", "A", "C"))])
    assert [a["code"] for a in best["found"]] == ["B", "D"]


def test_the_best_sweep_gives_the_rate_and_sweeps_are_sorted_by_duration():
    best = transmitters.best_set(
        PATH, [measured({"1010": 8, "0000": 2}, 4000), measured({"0000": 10}, 1000)]
    )
    assert [s["duration_ns"] for s in best["sweeps"]] == [1000, 4000]
    assert best["hit_rate"] == 0.8
    assert best["best_duration_ns"] == 4000


def test_results_of_other_atoms_or_without_shots_are_refused():
    with pytest.raises(ValueError, match="different inputs"):
        transmitters.best_set(PATH, [measured({"10": 1}, qubit_ids=("A", "X"))])
    with pytest.raises(ValueError, match="no shots"):
        transmitters.best_set(PATH, [])


class Page(HTMLParser):
    """Checks that tags close in order, and collects text and what would be loaded."""

    VOID = {"meta", "br", "link", "img"}

    def __init__(self):
        super().__init__()
        self.open, self.text, self.loads = [], [], []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in {"src", "href"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("country", ["FR", "DE"])
def test_the_report_is_one_well_formed_page_with_every_airport(country, tmp_path):
    graph = transmitters.graph(transmitters.load(country, 120), 120)
    codes = tuple(a["code"] for a in graph["airports"])
    optimum = sets.largest(sets.adjacency(len(codes), graph["edges"]))[0]
    bits = "".join("1" if optimum >> i & 1 else "0" for i in range(len(codes)))
    results = [
        measured({bits: 3, "1" * len(codes): 1, "0" * len(codes): 2}, d, codes)
        for d in (1000, 2000)
    ]
    best = transmitters.best_set(graph, results)
    answer = transmitters.report(graph, best, tmp_path / "run")
    text = (tmp_path / "run" / answer["report"]).read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.loads == []
    assert "http" not in text
    assert "@import" not in text
    shown = " ".join(page.text)
    for airport in [*graph["airports"], *graph["left_out"]]:
        assert airport["name"] in shown
        assert airport["code"] in shown
    assert answer["summary"] in shown
    assert json.loads(json.dumps(answer)) == answer
    assert answer["optimal"] is True
    assert len(answer["found"]) == answer["size"] == answer["optimum_size"]


def test_the_answer_doesn_t_depend_on_where_the_page_is_written(tmp_path):
    graph = transmitters.graph(transmitters.load("FR", 120), 120)
    codes = tuple(a["code"] for a in graph["airports"])
    best = transmitters.best_set(graph, [measured({"0" * len(codes): 5}, 1000, codes)])
    here = transmitters.report(graph, best, tmp_path / "a")
    assert here == transmitters.report(graph, best, str(tmp_path / "b"))
    assert here["size"] == 0
    assert here["physics_found_it"] is False
    assert "no shot hit the optimum" in here["summary"]
