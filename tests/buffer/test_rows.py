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
from ppo.control.stop import Limits
from ppo.loss import kl, norm, value
from ppo.network.flat import build_evaluate, flatten
from ppo.network.normaliser import Moments, ObsNormaliser
from ppo.update.loop import Update, update
from ppo.update.measure import build_measure
from ppo.update.optim import Learner
from ppo.update.step import build_step
from ppo.update.total import Guards, Loss

META = torch.device("meta")
OPTIONS = {"mlp": {}, "gsde": {}, "state_std": {}, "gru": {"hidden": 6, "chunk": 5}}


def network_of(name, width=8):
    build = option("network", name, actor=[width], critic=[width], **OPTIONS[name])
    return build(3, 1, torch.Generator().manual_seed(0))


def roll(envs, network, num_steps, rollouts=1):
    rollout = allocate(num_steps, envs.num_envs, envs.observation_space, network, envs.device, envs.masks)
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
@pytest.mark.parametrize("masks", [False, True])
def test_nothing_is_read_back_between_the_first_step_and_the_batch(name, masks, monkeypatch):
    """The meta device computes shapes only: whatever asks it for a number is an error."""
    reads = []
    monkeypatch.setattr(Tensors, "_read", lambda rows: reads.append(1) or [])
    network = network_of(name).to(META)
    envs = Batched(Pendulum(), 64, META, masks=masks)
    rollout, obs, _, _ = roll(envs, network, 10)
    assert all(x.device == META for x in (obs, *leaves(rollout))) and reads == [1]
    moments, scale = Moments.empty(3, device=META), RewardScale.empty(64, META)
    moments = moments.update(rollout.obs.flatten(0, 1), rollout.mask)
    scale = scale.update(rollout.reward, rollout.done, rollout.mask, gamma=0.9)
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


class Fragile(Pendulum):
    """World 2 breaks in its fourth step: its ``what`` is not finite. By its own count, so that it is of one rollout."""

    def __init__(self, what, number=math.nan):
        self.what, self.number, self.moves = what, number, 0

    def move(self, state, action):
        state, reward, terminated = super().move(state, action)
        self.moves += 1
        broken = (torch.arange(len(state)) == 2) & (self.moves == 4)
        if self.what == "reward":
            return state, torch.where(broken, self.number, reward), terminated
        return torch.where(broken[:, None], self.number, state), reward, terminated


BROKEN = pytest.mark.parametrize(("what", "number"), [("reward", math.inf), ("state", math.nan)])


def beside(task, network, num_steps=10):
    return roll(Batched(task, 4, torch.device("cpu"), masks=True), network, num_steps)


@BROKEN
@pytest.mark.parametrize("name", ["mlp", "gru"])
@pytest.mark.parametrize("width", [8, 1024])
def test_a_world_that_breaks_is_masked_and_reset_and_no_other_notices(what, number, name, width):
    network = network_of(name, width)
    (spoilt, obs, _, episodes), whole = beside(Fragile(what, number), network), beside(Pendulum(), network)
    assert (~spoilt.mask).nonzero().tolist() == [[3, 2]] and whole[0].mask.all()
    assert spoilt.done.nonzero().tolist() == [[3, 2]] and not spoilt.terminated.any() and episodes == []
    others = [0, 1, 3]
    for a, b in zip(leaves(spoilt), leaves(whole[0]), strict=True):
        assert torch.equal(a[:, others], b[:, others]) and torch.equal(a[:3], b[:3]) and torch.isfinite(a).all()
    assert torch.equal(obs[others], whole[1][others]) and not torch.equal(obs[2], whole[1][2])
    again = Batched(Pendulum(), 4, torch.device("cpu"))
    again.reset(0)
    again._world = again._world._replace(tally=again._world.tally._replace(length=torch.full((4,), 199)))
    assert torch.equal(spoilt.obs[4, 2], again.step(torch.zeros(4, 1)).obs[2])  # its second episode
    assert name == "mlp" or ((spoilt.memory[4, 2] == 0).all() and (whole[0].memory[4, 2] != 0).any())


@BROKEN
def test_an_update_is_the_one_without_that_sample(what, number, numbers):
    """By hand: the row is cut out, so that world 2 has an episode that was truncated before it and one that begins after it."""
    network = network_of("mlp")
    spoilt, *_ = beside(Fragile(what, number), network)
    cut = spoilt._replace(mask=(), done=spoilt.done.clone(), reward=spoilt.reward.clone())
    cut.done[2, 2], cut.reward[3, 2] = True, 7.0
    flat, evaluate = flatten(network), build_evaluate(network)
    kept = torch.arange(10 * 4) != 3 * 4 + 2
    moments = Moments.empty(3).update(spoilt.obs.flatten(0, 1), spoilt.mask)
    for a, b in zip(moments, Moments.empty(3).update(spoilt.obs.flatten(0, 1)[kept]), strict=True):
        torch.testing.assert_close(a, b)
    normalisers = ObsNormaliser.of(moments), RewardNormaliser.of(RewardScale.empty(4), clip=10.0)
    prepare = Prepare(evaluate, gamma=0.9, lam=0.8)
    batch, by_hand = (prepare(rollout, flat, *normalisers) for rollout in (spoilt, cut))
    assert (by_hand.advantage[kept] == batch.advantage[kept]).all()
    without = tree_map(lambda x: x[kept], by_hand)
    masked, smaller = (stepped(numbers(), evaluate, flat, b) for b in (batch, without))
    torch.testing.assert_close(masked, smaller, rtol=0, atol=1e-6)
    assert (masked - flat).abs().max() > 1e-3 and not torch.allclose(
        stepped(numbers(), evaluate, flat, by_hand), masked, atol=1e-5
    )


def stepped(knobs, evaluate, flat, batch):
    """The parameters after three gradient steps on the whole batch."""
    loss = Loss(option("objective", "ppo"), kl.exact, value.mse)
    bound = Update(
        step=build_step(evaluate, loss, Guards(), watch="kl/exact", micro_batches=1),
        measure=build_measure(evaluate, kl.exact, clamp=10.0),
        norm=norm.group,
        limits=Limits("none"),
        epochs=3,
        minibatch_size=len(batch.value),
    )
    learner, halt, _ = update(bound, Learner.start(flat.clone()), batch, knobs, torch.Generator().manual_seed(0))
    assert halt is None
    return learner.params


def test_a_world_that_is_nothing_but_broken_ends_the_run():
    class Never(Pendulum):
        def observe(self, state):
            return super().observe(state) * math.nan

    with pytest.raises(NotFinite, match="batched pendulum: every sample of the rollout"):
        beside(Never(), network_of("mlp"))


def test_an_action_that_is_not_finite_is_not_the_worlds_fault():
    network = network_of("mlp")
    with torch.no_grad():
        network.log_std.fill_(math.nan)
    with pytest.raises(NotFinite, match="the action of sub-environment 0 is not finite in step 0"):
        beside(Pendulum(), network)


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
