"""What is advised fits the configuration, changes it, and goes in the right direction."""

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from ppo.config.check import bind
from ppo.config.options import plain
from ppo.config.schema import CONF, GROUPS
from ppo.doctor.diagnose import CHECKS, diagnose
from ppo.doctor.history import History, lookup
from ppo.doctor.remedy import allowed, same, slower, to_reach, useful
from tests.doctor.test_diagnose import PLANTED

CONFIG = {
    "target_kl": 0.02,
    "lr": {"_target_": "ppo.control.lr.constant", "value": 3e-5},
    "stop": {"_target_": "ppo.control.stop.minibatch", "factor": 1.5},
    "clip": {"_target_": "ppo.control.clip.asymmetric", "below": 0.2, "above": 0.28},
    "normalise": {"reward": True},
}


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("lr.value=1e-5", "lr.value=1e-5"),
        ("lr.value=0.00003", ""),
        ("stop=minibatch target_kl=0.02", ""),
        ("stop=minibatch target_kl=0.01", "target_kl=0.01"),
        ("stop=epoch target_kl=0.02", "stop=epoch"),
        ("normalise.reward=true", ""),
        ("clip.eps=0.2", ""),  # asymmetric has none
        ("clip=fixed clip.eps=0.2", "clip=fixed clip.eps=0.2"),
        ("hydra.run.dir=outputs/NEW", "hydra.run.dir=outputs/NEW"),
    ],
)
def test_what_is_there_already_or_does_not_fit_is_left_out(words, left):
    assert useful(words, CONFIG) == left
    assert useful(words, {}) == words


def test_what_would_be_refused_beside_the_other_words_is_not_advised(config):
    def said(words: str, *own: str) -> bool:
        return allowed(words, plain(config(*BASE, "target_kl=0.02", *own)))

    assert said("stop=rollback lr.value=1e-4") and not said(
        "stop=rollback lr.value=1e-4", "objective=vmpo", "stop=none"
    )
    assert not said("stop=minibatch", "match_kl=0.02", "stop=none", "lr=constant")
    assert not said("lr.value=-1") and not said("lr=fast")
    assert allowed("stop=rollback", {}) and allowed("stop=rollback", CONFIG)  # of which little is known


def test_words_and_values():
    assert same(True, "true") and same(None, "null") is False and same(None, "none") and same(3e-5, "3e-05")
    assert not same(0.1, "high") and not same([1], "1")


def test_an_adaptive_rate_is_moved_by_its_range(history):
    lr = {"_target_": "ppo.control.lr.adaptive_kl", "value": 3e-4, "min": 1e-4, "max": 1e-2}
    run = history({"lr": 2e-3}, lr=lr)
    assert slower(run, 2) == "lr.max=0.001 lr.value=0.001"
    assert slower(run, 100) == "lr.max=2e-05 lr.value=2e-05 lr.min=2e-05"
    assert slower(run, 0.1) == "lr.min=0.02 lr.value=0.02 lr.max=0.02"
    assert slower(history(), 3) == "lr.value=0.0001"


def test_the_more_too_far_the_slower():
    factors = [to_reach(kl) for kl in (0.0, 0.015, 0.1, 1.0, 1e9, np.inf, np.nan)]
    assert factors == sorted(factors) and factors[0] == 2 and factors[-1] == 30


# Every finding under every kind of configuration: its words fit, and each of them changes something.

BASE = ("env=gym", "env.id=Pendulum-v1", "normalise.obs=true", "normalise.reward=true", "norm=minibatch")
CONFIGURATIONS = [
    ("num_steps=256", "lr.value=3e-4"),
    ("stop=minibatch", "target_kl=0.02", "kl=k1", "coef.entropy=0.05", "network.log_std_min=-2"),
    ("stop=rollback", "target_kl=0.02", "max_grad_norm=null", "norm=robust", "normalise.clip_reward=3"),
    ("stop=epoch", "target_kl=0.02", "kl=k3", "value=clipped", "coef.value=0.05", "clip=asymmetric"),
    ("lr=adaptive_kl", "target_kl=0.01", "clip=none", "penalty=adaptive", "action=tanh", "network=state_std"),
    ("clip=linear", "lr=linear", "value=huber", "normalise.reward=false", "normalise.obs=false", "epochs=3"),
    ("objective=trpo", "clip=none", "target_kl=0.01", "network=gsde", "gamma=0.9"),
    ("objective=vmpo", "stop=none"),
    ("lr=adaptive_kl_step", "stop=none", "target_kl=0.01"),
    ("match_kl=0.02", "stop=none", "lr=constant"),
    ("num_envs=1", "num_steps=1", "minibatch_size=1", "penalty=fixed", "penalty.beta=1000"),
]


def applied(cfg: DictConfig, remedy: str) -> DictConfig:
    """``cfg`` with the words of ``remedy``, as Hydra would put them in."""
    cfg = cfg.copy()
    for word in remedy.split():
        key, _, value = word.partition("=")
        chosen = OmegaConf.load(CONF / key / f"{value}.yaml") if key in GROUPS else OmegaConf.create(f"x: {value}").x
        OmegaConf.update(cfg, key, chosen, merge=False)
    return cfg


@pytest.mark.parametrize("words", CONFIGURATIONS, ids=" ".join)
def test_every_remedy_fits_and_none_is_already_set(history, config, words):
    cfg = config(*BASE, *words)
    bind(cfg)
    before, seen = plain(cfg), set()
    for cause, columns, options, _ in PLANTED:
        rows = history(columns, ended=options.get("ended", "none")).rows
        seen |= {(cause, remedy) for f in diagnose(History(rows, before)) for remedy in f.tries}
    for cause, remedy in seen:
        changed = applied(cfg, remedy)
        bind(changed)
        keys = [word.partition("=")[0] for word in remedy.split()]
        for key in keys:
            if key.partition(".")[0] in keys and key not in GROUPS:
                continue  # of an option that is chosen anew
            key = f"{key}._target_" if key in GROUPS else key
            assert lookup(plain(changed), key) != lookup(before, key), (cause, remedy, key)
    assert len(seen) > 5


def test_the_planted_rows_show_every_check_there_is():
    """So that the test above sees the remedies of all; that one names a new folder."""
    assert {check.__name__ for check in CHECKS} - {cause for cause, *_ in PLANTED} == {"reward_changed"}
