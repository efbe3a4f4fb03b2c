"""A rollout in a world on a device: what one on the host would have collected, and nothing read back on the way."""

import math

import pytest
import torch

from envs.action import clip, received
from envs.base import NotFinite
from envs.batched.pendulum import Pendulum
from envs.batched.world import Batched
from envs.device import hosted
from ppo.buffer.collect import collect
from ppo.buffer.data import leaves, tree_map
from ppo.buffer.gae import recurrence
from ppo.buffer.minibatches import allocate
from ppo.buffer.prepare import Prepare
from ppo.buffer.rewards import RewardNormaliser, RewardScale
from ppo.buffer.rows import Tensors
from ppo.config.options import option
from ppo.network.flat import build_evaluate, flatten
from ppo.network.normaliser import Moments, ObsNormaliser

META = torch.device("meta")
OPTIONS = {"mlp": {}, "gsde": {}, "state_std": {}, "gru": {"hidden": 6, "chunk": 5}}


def network_of(name, width=8):
    build = option("network", name, actor=[width], critic=[width], **OPTIONS[name])
    return build(3, 1, torch.Generator().manual_seed(0))


def roll(envs, network, num_steps, rollouts=1):
    rollout = allocate(num_steps, envs.num_envs, envs.observation_space, network, envs.device)
    normalise = ObsNormaliser.of(Moments.empty(3, device=network.device), clip=2.0)
    to_world, generator = received(clip, envs.action_space, envs.device), torch.Generator().manual_seed(1)
    obs, memory, episodes = envs.reset(0), network.empty_memory(envs.num_envs, envs.device), []
    for _ in range(rollouts):
        obs, memory, more = collect(envs, network, normalise, to_world, obs, memory, rollout, generator)
        episodes += more
    return rollout, obs, memory, episodes


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("width", [8, 1024])  # evaluated in numpy, and by the module
def test_on_a_device_is_what_it_is_on_the_host(name, width):
    network = network_of(name, width)
    there = roll(Batched(Pendulum(), 4, torch.device("cpu")), network, 105, rollouts=2)
    here = roll(hosted(Batched(Pendulum(), 4, torch.device("cpu"))), network, 105, rollouts=2)
    for a, b in zip(leaves(here[0]), leaves(there[0]), strict=True):
        assert torch.equal(a, b.to(a.dtype))
    assert torch.equal(torch.as_tensor(here[1]), there[1]) and here[3] == there[3] and len(here[3]) == 4
    assert not OPTIONS[name].get("chunk") or torch.equal(here[2], there[2])
    assert (here[0].reward.dtype, there[0].reward.dtype) == (torch.float64, torch.float32)


@pytest.mark.parametrize("name", OPTIONS)
def test_nothing_is_read_back_between_the_first_step_and_the_batch(name, monkeypatch):
    """The meta device computes shapes only: whatever asks it for a number is an error."""
    reads = []
    monkeypatch.setattr(Tensors, "_read", lambda rows: reads.append(1) or [])
    network = network_of(name).to(META)
    envs = Batched(Pendulum(), 64, META)
    rollout, obs, _, _ = roll(envs, network, 10)
    assert all(x.device == META for x in (obs, *leaves(rollout))) and reads == [1]
    moments, scale = Moments.empty(3, device=META), RewardScale.empty(64, META)
    moments = moments.update(rollout.obs.flatten(0, 1))
    scale = scale.update(rollout.reward, rollout.done, gamma=0.9)
    prepare = Prepare(build_evaluate(network), gamma=0.9, lam=0.8)
    normalisers = ObsNormaliser.of(moments), RewardNormaliser.of(scale, clip=10.0)
    batch = prepare(rollout, flatten(network), *normalisers)
    assert batch.advantage.shape == (640,) and all(x.device == META for x in leaves(batch))


def test_a_learner_elsewhere_takes_the_rollout_of_a_host_with_it():
    """The meta device refuses to be mixed with another, as every device does: statistics, batch and rollout are all there."""
    network = network_of("mlp")
    rollout, *_ = roll(hosted(Batched(Pendulum(), 4, torch.device("cpu"))), network, 10)
    with pytest.raises(RuntimeError, match="device"):  # what this test rests on
        Moments.empty(3, device=META).update(rollout.obs.flatten(0, 1))
    rollout, network = tree_map(lambda x: x.to(META), rollout), network.to(META)
    moments = Moments.empty(3, device=META).update(rollout.obs.flatten(0, 1))
    scale = RewardScale.empty(4, META).update(rollout.reward, rollout.done, gamma=0.9)
    prepare = Prepare(build_evaluate(network), gamma=0.9, lam=0.8)
    prepare(rollout, flatten(network), ObsNormaliser.of(moments), RewardNormaliser.of(scale, clip=10.0))


def test_a_world_that_breaks_is_named_after_the_rollout():
    class Breaking(Batched):
        def step(self, action):
            step = super().step(action)
            broken = (torch.arange(4) == 2) & (self.state()["length"] == 3)
            return step._replace(reward=torch.where(broken, math.nan, step.reward))

    with pytest.raises(NotFinite, match=r"batched pendulum: the reward of sub-environment 2 is not finite in step 2"):
        roll(Breaking(Pendulum(), 4, torch.device("cpu")), network_of("mlp"), 10)


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (
            "obs",
            "the obs of sub-environment 2 is not finite in step 3",
        ),  # of a reset: nobody acted on a wrong number before
        ("next_obs", "the next_obs of sub-environment 2 is not finite in step 2"),
    ],
)
def test_the_first_number_that_is_not_finite_is_told_and_not_what_it_spoilt(spoilt, said):
    class Breaking(Batched):
        def step(self, action):
            broken = (torch.arange(4) == 2) & (self.state()["length"] == 2)
            step = super().step(action)
            seen = torch.where(broken[:, None], math.nan, step.obs)
            return step._replace(**dict.fromkeys(("obs", spoilt), seen))

    with pytest.raises(NotFinite, match=said):
        roll(Breaking(Pendulum(), 4, torch.device("cpu")), network_of("mlp"), 10)


def test_large_numbers_are_no_broken_ones():
    class Large(Batched):
        def step(self, action):
            step = super().step(action)
            return step._replace(reward=torch.full_like(step.reward, 3e38))

    rollout, *_ = roll(Large(Pendulum(), 4, torch.device("cpu")), network_of("mlp"), 10)
    assert torch.isinf(rollout.reward.sum())


def test_on_another_device_the_recurrence_is_the_same():
    """Its loop of operations, against the loop in numpy."""

    class Elsewhere(torch.Tensor):
        @property
        def device(self):
            return torch.device("cuda")

    g = torch.Generator().manual_seed(0)
    x, decay, start = torch.randn(7, 3, generator=g), torch.rand(7, 3, generator=g), torch.randn(3, generator=g)
    there = recurrence(x.as_subclass(Elsewhere), decay, start).as_subclass(torch.Tensor)
    torch.testing.assert_close(there, recurrence(x, decay, start))
