"""Direction, size, interval, n and p of a sentence come from one sample and one moment."""

import re

import numpy as np
import pytest

from ppo.compare.compare import compare
from ppo.compare.sentence import HIGHER, LOWER, UNDECIDED
from ppo.compare.trial import Trial

NUMBER = r"-?[\d,.]+(?:e[+-]?\d+)?"
DECIDED = re.compile(
    rf"(?P<a>\w+) is (?P<word>higher|lower) than (?P<b>\w+) by (?P<gap>{NUMBER}) \([\d.]+% (?:always-valid )?interval of the "
    rf"difference (?P<low>{NUMBER}) to (?P<high>{NUMBER}); p = (?P<p>{NUMBER}).*; (?P<n>\d+)(?: against (?P<m>\d+) seeds"
    r"| pairs of seeds)\)"
)

RANKED = re.compile(
    rf"failed \(p of failing equally often: {NUMBER}\); (?P<a>\w+) is (?P<word>higher|lower) than (?P<b>\w+) \((?:exact rank|"
    rf"always-valid sign) test, .*P\(A > B\) = (?P<chance>{NUMBER}).*(?P<n>\d+)(?: against \d+ seeds| pairs of seeds)\)"
)


def value(text: str) -> float:
    return float(text.replace(",", ""))


def drawn(trial, rng) -> list[Trial]:
    """Two or three arms with gaps in their seeds, failed runs, and a difference that may turn around on the way."""
    runs = []
    scale, turn = 10.0 ** rng.integers(-3, 5), rng.normal(0, 2, size=2)
    for i, arm in enumerate("abc"[: rng.integers(2, 4)]):
        for seed in range(rng.integers(5, 16)):
            if rng.random() < 0.15:
                continue
            drift = i * (turn[0] if seed < 7 else turn[1])
            curve = scale * (drift + rng.normal(0, rng.choice([0.1, 1.0]), size=4))
            runs.append(trial(arm, seed, *curve, failed="crashed" if rng.random() < 0.1 else None))
    return runs


def check(row: dict, runs: list[Trial], sequential: bool) -> None:
    seeds = {arm: {run.seed for run in runs if run.arm == arm} for arm in (row["a"], row["b"])}
    common = len(seeds[row["a"]] & seeds[row["b"]])
    n, m = (common, common) if sequential else map(len, seeds.values())
    assert (row["n_a"], row["n_b"]) == (n, m)
    if row["verdict"] not in (HIGHER, LOWER):
        assert " is higher" not in row["sentence"] and " is lower" not in row["sentence"]
        low, high = row[row["test"]]["ci"]
        inside = low <= 0 <= high or row["failed_a"] + row["failed_b"]  # decided exactly where the interval excludes 0
        assert row["verdict"] != UNDECIDED or inside, row["sentence"]
        return
    if row["failed_a"] + row["failed_b"]:
        said = RANKED.search(row["sentence"])
        assert said, row["sentence"]
        assert (row["verdict"] == HIGHER) == (said["word"] == "higher")
        assert sequential or (value(said["chance"]) > 0.5) == (said["word"] == "higher")
        assert row[row["test"]]["p_holm"] < 0.05 and f"{row['failed_a']} of {n} runs of {row['a']}" in row["sentence"]
        return
    said = DECIDED.search(row["sentence"])
    assert said, row["sentence"]
    gap, low, high, p = (value(said[name]) for name in ("gap", "low", "high", "p"))
    signed = gap if said["word"] == "higher" else -gap
    assert low <= signed <= high and low * high > 0 and p < 0.05, row["sentence"]
    assert (int(said["n"]), int(said["m"] or said["n"])) == (n, m)
    assert (row["verdict"] == HIGHER) == (said["word"] == "higher") == (row["difference"] > 0)


@pytest.mark.parametrize("sequential", [False, True])
def test_the_sentence_of_a_random_table_agrees_with_itself(trial, sequential, quick):
    rng = np.random.default_rng(11)
    decided = 0
    for _ in range(60):
        runs = drawn(trial, rng)
        for row in compare(runs, sequential=sequential).verdict["pairs"]:
            check(row, runs, sequential)
            decided += row["verdict"] in (HIGHER, LOWER)
    assert decided > (5 if sequential else 15)


def test_a_difference_that_turned_around_is_read_as_it_is_now(trial):
    """a was clearly lower after eight pairs; after twenty nothing of that is left, and after forty it is higher."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 40))
    effect = np.where(np.arange(40) < 8, -4.0, 4.0)

    def look(n: int) -> dict:
        runs = [trial("a", seed, noise[0, seed] + effect[seed]) for seed in range(n)]
        runs += [trial("b", seed, noise[1, seed]) for seed in range(n)]
        return next(r for r in compare(runs, sequential=True).verdict["pairs"] if r["endpoint"] == "return/final")

    early, middle, late = look(8), look(16), look(40)
    assert [row["verdict"] for row in (early, middle, late)] == [LOWER, "undecided", HIGHER]
    assert middle["sequential"]["decided_at"] <= 8 and middle["sequential"]["p"] > 0.5
    assert late["sequential"]["ci"][0] > 0


def test_a_sequential_sentence_leaves_out_seeds_that_only_one_arm_has(trial):
    """b's five further seeds are far below: with them b would be lower, without them it is higher."""
    rng = np.random.default_rng(1)
    runs = [trial("a", seed, rng.normal()) for seed in range(8)]
    runs += [trial("b", seed, rng.normal() + 6) for seed in range(8)] + [
        trial("b", seed, -90.0) for seed in range(8, 13)
    ]
    row = compare(runs, sequential=True).verdict["pairs"][0]
    assert row["verdict"] == "b is higher" and row["n_b"] == 8 and row["superiority"]["p"] == 0.0
    assert "8 pairs of seeds" in row["sentence"]
