"""What Stable-Baselines3 is given so that it trains as a run of ours does."""

import pytest

from ppo.config.options import ConfigError
from scripts.benchmarks.same import same


def test_every_number_is_that_of_the_recipe():
    """The numbers of conf/experiment/cleanrl.yaml, as typed there, and two typed beside it."""
    setting = same(["+experiment=cleanrl", "env.id=Hopper-v5", "gamma=0.98", "network.actor=[32]"])
    assert setting.num_envs == 1
    ppo = dict(setting.ppo)
    rate = ppo.pop("learning_rate")
    assert [rate(left) for left in (1.0, 0.5, 0.0)] == pytest.approx([3e-4, 1.5e-4, 0.0])
    policy = ppo.pop("policy_kwargs")
    assert policy["net_arch"] == {"pi": [32], "vf": [64, 64]}
    assert policy["optimizer_kwargs"] == {"eps": 1e-5, "betas": (0.9, 0.999), "fused": True}
    assert ppo == {
        "n_steps": 2048,
        "batch_size": 64,
        "n_epochs": 10,
        "gamma": 0.98,
        "gae_lambda": 0.95,
        "clip_range": 0.2,
        "clip_range_vf": 0.2,
        "normalize_advantage": True,
        "ent_coef": 0.0,
        "vf_coef": 0.25,
        "max_grad_norm": 0.5,
    }
    assert setting.normalise == {
        "norm_obs": True,
        "norm_reward": True,
        "gamma": 0.98,
        "clip_obs": 10.0,
        "clip_reward": 10.0,
    }


def test_a_recipe_that_normalises_nothing_needs_no_wrapper():
    assert same(["+experiment=pendulum"]).normalise is None


@pytest.mark.parametrize(
    "word",
    [
        "stop=minibatch",
        "norm=group",
        "network=gru",
        "network.log_std_min=-1",
        "network.activation=elu",
        "rpo=0.5",
        "objective.dual=3",
    ],
)
def test_a_switch_that_it_has_not_is_refused(word):
    with pytest.raises(ConfigError, match=word.partition("=")[0]):
        same(["+experiment=cleanrl", "env.id=Hopper-v5", word])


@pytest.mark.parametrize("word", ["clip.eps=-1", "klipp=1"])
def test_a_wrong_word_is_named(word):
    with pytest.raises(ConfigError, match=word.partition("=")[0]):
        same(["+experiment=cleanrl", "env.id=Hopper-v5", word])
