"""Stopping rules: what may be asked, what is refused, and what shots say about a rule."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpu_executor.documents.problems import Problems
from qpu_executor.documents.source import parse_mapping
from qpu_executor.errors import RequestRefused
from qpu_executor.manager.service.shot_evidence import Evidence, Observable
from qpu_executor.manager.store.wishes import Wishes
from qpu_executor.model.stopping import MAX_LABELS, StopRule, read_stop_rule

Z = {"min_shots": 10, "stderr": 0.05, "observable": {"ZI": 1.0}}
FIVE = {"min_shots": 10, "distinct": 5, "seen": 2}


def evidence(rule: dict[str, Any], *chunks: dict[str, int]) -> Evidence:
    found = Evidence(read_stop_rule(rule))
    for counts in chunks:
        found.add(counts)
    return found


# -- what may be asked ---------------------------------------------------------------


@pytest.mark.parametrize("given", [Z, FIVE, {"min_shots": 1, "distinct": 1}])
def test_rule_is_read_and_comes_back_from_its_values_and_from_the_store(given: Any) -> None:
    rule = read_stop_rule(given, shots=1000)
    assert read_stop_rule(rule.values()) == rule == read_stop_rule(rule)
    wishes = Wishes(stop_when=rule)
    assert wishes
    assert Wishes.of_values(wishes.values()) == wishes


def test_numbers_of_numpy_are_numbers() -> None:
    rule = {
        "min_shots": np.int64(10),
        "stderr": np.float32(0.5),
        "observable": {"ZI": np.int32(2)},
    }
    read = read_stop_rule(rule, shots=1000)
    assert json.loads(json.dumps(read.values())) == {
        "min_shots": 10,
        "stderr": 0.5,
        "observable": {"ZI": 2.0},
    }


def test_rules_of_the_documentation_are_rules() -> None:
    page = Path(__file__).parents[2] / "docs" / "policies" / "early-stop.md"
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    read = [
        read_stop_rule(parse_mapping(block, Problems(page.name), "a mapping")["stop_when"], 2000)
        for block in blocks
    ]
    assert [(rule.stderr, rule.distinct, rule.seen) for rule in read] == [
        (0.05, None, 1),
        (None, 5, 3),
    ]
    assert dict(read[0].observable) == {"ZZII": 0.5, "IZZI": 0.5, "1III": -1.0}


@pytest.mark.parametrize(
    ("change", "where", "said"),
    [
        ({"min_shot": 3}, "min_shot", "did you mean 'min_shots'"),
        ({"min_shots": None}, "min_shots", "missing"),
        ({"min_shots": 0}, "min_shots", "0 is not possible"),
        ({"min_shots": True}, "min_shots", "True"),
        ({"min_shots": 1001}, "min_shots", "more than the task's 1000 shots"),
        ({"stderr": 0.0}, "stderr", "0.0"),
        ({"stderr": math.inf}, "stderr", "inf"),
        ({"stderr": "0.1"}, "stderr", "'0.1'"),
        ({"stderr": None}, "stderr", "missing"),
        ({"observable": None}, "observable", "missing"),
        ({"observable": {}}, "observable", "{}"),
        ({"observable": {"X": 1}}, "observable.X", "'X' is no label"),
        ({"observable": {"": 1}}, "observable.", "'' is no label"),
        ({"observable": {11: 1}}, "observable.11", "the label is a number"),
        ({"observable": {"Z": 1, "ZZ": 1}}, "observable", "labels of 1 and of 2 characters"),
        ({"observable": {"ZI": math.nan}}, "observable.ZI", "nan"),
        ({"observable": {"ZI": 10**400}}, "observable.ZI", "no coefficient"),
        ({"observable": {"ZI": False}}, "observable.ZI", "no coefficient"),
        ({"observable": {"II": 3, "ZI": 0}}, "observable", "a constant"),
        ({"distinct": 3}, "distinct", "doesn't go with"),
        ({"seen": 3}, "seen", "doesn't go with"),
    ],
)
def test_what_is_no_rule_is_refused_by_its_key(change: Any, where: str, said: str) -> None:
    with pytest.raises(RequestRefused, match=said) as refused:
        read_stop_rule({**Z, **change}, shots=1000)
    assert refused.value.where == f"stop_when.{where}"
    assert refused.value.expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"min_shots": 10}, "it says no end"),
        ({"min_shots": 10, "seen": 2}, "it says no end"),
        ({**FIVE, "distinct": 0}, "0 is not possible"),
        ({**FIVE, "distinct": 2.5}, "2.5 is not possible"),
        ({**FIVE, "distinct": 501}, "501 bitstrings, 2 times each, never come of 1000 shots"),
        ("stderr", "is no stopping rule"),
    ],
)
def test_what_has_no_possible_end_is_refused(given: Any, said: str) -> None:
    with pytest.raises(RequestRefused, match=said):
        read_stop_rule(given, shots=1000)


def test_more_labels_than_can_be_judged_in_time_are_refused() -> None:
    labels = {format(n, "010b"): 1.0 for n in range(MAX_LABELS + 1)}
    with pytest.raises(RequestRefused, match="501 labels"):
        read_stop_rule({**Z, "observable": labels})


def test_rule_has_to_fit_the_register() -> None:
    read_stop_rule(Z).refuse_misfit(2)
    with pytest.raises(RequestRefused, match="'ZI' has 2 characters for 3 qubits"):
        read_stop_rule(Z).refuse_misfit(3)
    with pytest.raises(RequestRefused, match="5 distinct bitstrings of 2 bits"):
        read_stop_rule(FIVE).refuse_misfit(2)


# -- what shots say --------------------------------------------------------------------


def by_definition(terms: dict[str, float], bits: str) -> float:
    """The value of an observable, letter by letter."""
    table = {("Z", "0"): 1, ("Z", "1"): -1, ("0", "0"): 1, ("0", "1"): 0, ("1", "0"): 0}
    factors = {**table, ("1", "1"): 1, ("I", "0"): 1, ("I", "1"): 1}
    return sum(
        coefficient
        * math.prod(factors[letter, bit] for letter, bit in zip(label, bits, strict=True))
        for label, coefficient in terms.items()
    )


@pytest.mark.parametrize(
    "terms",
    [
        {"ZII": 1.0},
        {"ZZI": 0.5, "IZZ": -0.25, "III": 3.0},
        {"1II": -1.0, "I1I": -1.0, "11I": 2.0},
        {"0Z1": 1.5, "1ZZ": -2.0, "010": 0.75},
    ],
)
def test_observable_has_the_value_that_its_letters_say_within_its_range(
    terms: dict[str, float],
) -> None:
    observable = Observable(tuple(terms.items()))
    for bits in map("".join, itertools.product("01", repeat=3)):
        value = observable.value(bits)
        assert value == pytest.approx(by_definition(terms, bits))
        assert observable.low - 1e-12 <= value <= observable.high + 1e-12


def test_standard_error_of_one_qubit_is_that_of_agresti_and_coull() -> None:
    rule = {"min_shots": 1, "stderr": 0.001, "observable": {"1": 1.0}}
    for ones, shots in ((0, 10), (3, 10), (10, 10), (70, 200)):
        share = (ones + 2) / (shots + 4)
        expected = math.sqrt(share * (1 - share) / (shots + 4))
        found = evidence(rule, {"1": ones, "0": shots - ones})
        assert found.stderr() == pytest.approx(expected)


def test_standard_error_scales_with_the_observable_and_ignores_a_constant() -> None:
    counts = {"00": 40, "01": 25, "11": 35}
    base = evidence(Z, counts).stderr()
    scaled = evidence({**Z, "observable": {"ZI": -3.0, "II": 100.0}}, counts).stderr()
    assert scaled == pytest.approx(3.0 * base)


def test_standard_error_doesnt_depend_on_how_the_shots_were_cut() -> None:
    one = evidence(Z, {"00": 30, "10": 12})
    two = evidence(Z, {"00": 10, "10": 12}, {"00": 20})
    assert one.stderr() == pytest.approx(two.stderr())
    assert evidence(Z, {"00": 10, "10": 12}).joined({"00": 20}).shots == 42


def test_equal_shots_are_no_evidence_until_there_are_enough_of_them() -> None:
    """The naive standard error of equal shots is 0 after two of them."""
    met = [n for n in range(1, 200) if evidence(Z, {"00": n}).met]
    assert met == list(range(met[0], 200))
    assert 50 <= met[0] <= 60  # about 1.4 * 2 / 0.05, never the least number asked for, 10
    assert not evidence({**Z, "min_shots": 100}, {"00": 99}).met


def test_shots_that_vary_need_as_many_as_their_variance_says() -> None:
    def needed(share: float) -> int:
        found = (n for n in range(10, 5000, 10) if evidence(Z, _split(n, share)).met)
        return next(found)

    assert needed(0.5) == pytest.approx(1 / 0.05**2, rel=0.05)
    assert needed(0.9) == pytest.approx((1 - 0.8**2) / 0.05**2, rel=0.25)


def _split(shots: int, share: float) -> dict[str, int]:
    ones = round(shots * share)
    return {"00": shots - ones, "10": ones}


def test_rule_that_is_met_is_rarely_far_off() -> None:
    """What stops is near the truth: over many runs, also with a rare outcome."""
    draw = random.Random(7)
    rule = {"min_shots": 20, "stderr": 0.02, "observable": {"1": 1.0}}
    for truth in (0.02, 0.5):
        far = 0
        for _ in range(200):
            found, ones = Evidence(read_stop_rule(rule)), 0
            while not found.met:
                counts = Counter("1" if draw.random() < truth else "0" for _ in range(20))
                found.add(counts)
                ones += counts["1"]
            far += abs(ones / found.shots - truth) > 3 * 0.02
        assert far <= 4, (truth, far)


def test_distinct_bitstrings_count_once_they_were_seen_often_enough() -> None:
    found = evidence(FIVE, {"000": 20, "001": 1, "010": 2, "011": 2, "100": 2})
    assert (found.distinct(), found.met) == (4, False)
    assert "4 distinct bitstrings seen 2 times or more after 27 shots (5 wanted)" in str(found)
    found.add({"001": 1})
    assert (found.distinct(), found.met) == (5, True)
    found.clear()
    assert (found.shots, found.distinct(), found.met, str(found)) == (0, 0, False, "no shots yet")


def test_labels_that_dont_fit_the_bitstrings_stop_nothing_and_say_so() -> None:
    found = evidence({**Z, "stderr": 100.0}, {"000": 500})
    assert not found.met
    assert "don't fit the bitstring '000'" in str(found)


def test_a_rule_says_in_words_what_it_is() -> None:
    assert "is at most 0.05, after at least 10 shots" in str(read_stop_rule(Z))
    assert "5 distinct bitstrings were seen, each 2 times or more" in str(read_stop_rule(FIVE))
    assert str(StopRule(3, distinct=2)) == "2 distinct bitstrings were seen, after at least 3 shots"
