"""Where another limit would have stopped: the first update's answer is that of a run which had it."""

import itertools

import pytest
import torch

from ppo.config.options import plain
from ppo.control.stop import Limits
from ppo.doctor.history import DoctorError, History
from ppo.doctor.what_if import RULES, Answer, Limit, answers, exact, parse
from ppo.logging.base import Run
from ppo.logging.jsonl import read
from ppo.loss import kl as kl_family
from ppo.loss import norm
from ppo.train import train
from ppo.update.loop import Update, update
from ppo.update.measure import build_measure
from ppo.update.step import build_step
from ppo.update.total import Guards

WORDS = ("env.task=target", "lr.value=5e-3", "epochs=5", "total_steps=128", "minibatch_size=16", "eval.every=0")
WORDS += ("eval.episodes=1",)


@pytest.fixture
def run(config, tmp_path):
    def make(*words: str) -> History:
        cfg, folder = config(*WORDS, *words), tmp_path / " ".join(words or ("free",))
        train(cfg, Run(folder, "run", {}))
        return History(read(folder / "metrics.jsonl"), plain(cfg))

    return make


def compare(free: History, again: History, limit: Limit) -> int:
    """The answer for the first update is what a run with that limit did; the gradient steps it kept."""
    answer, row = answers(free, limit)[0], again.rows[0]
    assert exact(free, limit)
    assert answer.stopped == (row["update/stop"] == limit.stop) and answer.steps == row["update/steps"]
    if answer.stopped:
        assert (answer.epoch, answer.minibatch) == (row["stop/epoch"], row["stop/minibatch"])
        assert answer.value == pytest.approx(row["stop/value"], rel=1e-6)
    return answer.steps


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("stop", "kl", "target"),
    [
        ("minibatch", "k3", 0.01),
        ("epoch", "k1_clamped", 0.05),
        *(
            pytest.param(*case, marks=slow)
            for case in itertools.product(("minibatch", "epoch"), ("exact", "k1", "k3"), (0.003, 0.03, 0.1, 1e3))
        ),
    ],
)
def test_the_first_updates_answer_is_that_of_a_rerun(run, stop, kl, target):
    free = run()
    (limit,) = parse([f"kl={kl}", f"target_kl={target}", f"stop={stop}", "stop.factor=1.5"], free)
    compare(free, run(f"kl={kl}", f"target_kl={target}", f"stop={stop}"), limit)


@pytest.mark.parametrize("stop", RULES)
def test_an_updates_answer_is_that_of_the_same_update_under_the_limit(problem, numbers, make_loss, stop):
    """For limits that stop early and late; a rollback is asked of an update that measured it."""

    def once(kl: str, limit: float = 1e6) -> History:
        _, evaluate, learner, batch = problem()
        chosen = make_loss(kl=getattr(kl_family, kl))
        bound = Update(
            step=build_step(evaluate, chosen, Guards()),
            measure=build_measure(evaluate, chosen.kl, clamp=10.0),
            norm=norm.none,
            limits=Limits(stop, **{{"rollback": "batch", "minibatch": "step"}.get(stop, stop): limit}),
            epochs=4,
            minibatch_size=16,
        )
        knobs = numbers(lr=1e-2, limit=bound.limits.step)
        _, _, metrics = update(bound, learner, batch, knobs, torch.Generator().manual_seed(5))
        return History([metrics], {"epochs": 4})

    free, kept = once("exact"), set()
    early, _, late = free.rows[0]["trace/first"][1:]
    for kl in ("exact",) if stop == "rollback" else ("exact", "k1", "k3"):
        for limit in (0.3 * early, 0.95 * late):
            kept.add(compare(free, once(kl, limit), Limit(stop, kl, limit, 1.0)))
    assert len(kept) >= 2


def test_beyond_its_own_stop_a_run_does_not_know(run):
    own = run("stop=minibatch", "target_kl=0.02")
    assert own.rows[0]["update/stop"] == "minibatch"
    assert answers(own, Limit("minibatch", "exact", 0.02, 1.5))[0].steps == own.rows[0]["update/steps"]
    assert answers(own, Limit("minibatch", "exact", 0.01, 1.5))[0].steps < own.rows[0]["update/steps"]
    assert answers(own, Limit("minibatch", "exact", 0.5, 1.5))[0] == Answer(None)


def test_an_estimated_rollback_says_that_it_is_one(run):
    free = run()
    limit = Limit("rollback", "exact", 0.02, 1.5)
    assert not exact(free, limit)
    answer, firsts = answers(free, limit)[0], free.rows[0]["trace/first"]
    assert answer.value == next(x for x in firsts if x > 0.03) and answer.steps % free.per_epoch == 0


def test_words_are_every_combination_and_the_rest_is_the_runs_own(history):
    limits = parse(["target_kl=0.01,0.02", "kl=k3,exact"], history())
    assert [(x.target_kl, x.kl) for x in limits] == [(0.01, "k3"), (0.02, "k3"), (0.01, "exact"), (0.02, "exact")]
    assert {(x.stop, x.factor) for x in limits} == {("minibatch", 1.5)}
    own = history(target_kl=0.05, stop={"_target_": "ppo.control.stop.epoch", "factor": 1.0})
    assert parse(["kl=k3"], own) == [Limit("epoch", "k3", 0.05, 1.0)]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("kl=k9", "there is exact"),
        ("target=1", "did you mean target_kl"),
        ("target_kl", "KEY=VALUE"),
        ("target_kl=-1", "positive"),
        ("target_kl=nan", "positive"),
        ("target_kl=much", "much"),
        ("stop=none", "no such option"),
        ("kl=k3", "no target_kl"),
    ],
)
def test_a_mistake_is_one_line(history, word, says):
    with pytest.raises(DoctorError, match=says) as error:
        parse([word], history())
    assert "\n" not in str(error.value)


def test_a_run_without_the_path_of_its_kl_is_refused(history):
    old = history()
    for row in old.rows:
        del row["trace/first"]
    with pytest.raises(DoctorError, match="no path of its KL"):
        parse(["target_kl=0.01"], old)
