"""The same simulator under rsl_rl's own runner: what it makes of values and rewards, and what we do."""

import pytest
import torch

from envs.vecenv import Foreign
from ppo.buffer.gae import gae
from tests.envs.simulators import Clocks

pytest.importorskip("rsl_rl", reason="needs rsl-rl-lib, which comes with the mjlab extra")
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict

STEPS, WORLDS, GAMMA, LAM = 11, 6, 0.9, 0.8


class Theirs(Clocks):
    def groups(self):
        return TensorDict(super().groups(), batch_size=[self.num_envs])


def runner(sim):
    model = {"class_name": "MLPModel", "hidden_dims": [8], "activation": "elu"}
    algorithm = {"class_name": "PPO", "gamma": GAMMA, "lam": LAM, "schedule": "fixed", "rnd_cfg": None}
    torch.manual_seed(0)
    cfg = {
        "num_steps_per_env": STEPS,
        "save_interval": 10**9,
        "obs_groups": {"actor": ["policy"], "critic": ["critic"]},
        "actor": model | {"distribution_cfg": {"class_name": "GaussianDistribution"}},
        "critic": dict(model),
        "algorithm": algorithm,
    }
    return OnPolicyRunner(sim, cfg, log_dir=None, device="cpu")


def both(**told):
    """(their values and returns, ours), each [T, N], of one rollout; and our steps."""
    theirs = runner(Theirs(WORLDS, **told))
    theirs.alg.update = dict  # nothing moves: what is compared is what an update would be given
    theirs.logger.log = lambda **_: None
    theirs.learn(1)
    storage = theirs.alg.storage

    def value(obs):
        with torch.no_grad():
            groups = {"critic": obs[..., 2:]}
            return theirs.alg.critic(TensorDict(groups, batch_size=obs.shape[:-1])).squeeze(-1)

    words = {"bootstrap": "last_obs", "random_start": False, "masks": True}
    env = Foreign(lambda: Theirs(WORLDS, **told), WORLDS, torch.device("cpu"), "theirs", **words)
    obs = [env.reset(0)]
    steps = []
    for _ in range(STEPS):
        steps.append(env.step(torch.zeros(WORLDS, 2)))
        obs.append(steps[-1].obs)
    reward, last, terminated, truncated = (
        torch.stack([getattr(s, name) for s in steps]) for name in ("reward", "next_obs", "terminated", "truncated")
    )
    values, after = value(torch.stack(obs[:-1])), value(last)
    ours = values + gae(reward, values, after, terminated, terminated | truncated, GAMMA, LAM)
    return storage.values.squeeze(-1), storage.returns.squeeze(-1), values, ours, after, terminated, truncated


@pytest.mark.parametrize("told", [{}, {"time_outs": False}], ids=["time limits", "finite horizon"])
def test_values_and_returns_are_theirs(told):
    """With time limits too: V of the observation acted on stands for that of the last one on both sides."""
    their_values, their_returns, values, returns, _, terminated, truncated = both(length=5, **told)
    torch.testing.assert_close(values, their_values)
    torch.testing.assert_close(returns, their_returns)
    assert terminated.any() and truncated.any() == (not told)


def test_with_the_true_last_observation_the_returns_differ_by_what_they_leave_out():
    """At a time limit by gamma (V(last) - V(acted on)), and before it by gamma lambda of what follows; nowhere else."""
    _, their_returns, values, returns, after, terminated, truncated = both(length=5, final=True)
    missing = torch.where(truncated, GAMMA * (after - values), 0)
    expected, ahead = torch.zeros_like(returns), torch.zeros(WORLDS)
    for t in reversed(range(STEPS)):
        going = ~(terminated | truncated)[t]
        ahead = expected[t] = missing[t] + GAMMA * LAM * going * ahead
    torch.testing.assert_close(returns - their_returns, expected, atol=1e-5, rtol=1e-4)
    assert expected.abs().max() > 0.01
