"""What is learned from: values, advantages and targets of a rollout."""

import pytest
import torch

from envs.probe import probe
from envs.vector import vector
from ppo.buffer.data import Pairs, in_chunks, leaves, tree_map
from ppo.buffer.minibatches import blank
from ppo.buffer.prepare import Prepare, successors
from ppo.config.options import option
from ppo.network.flat import Following, Inputs, build_evaluate, flatten
from ppo.network.frozen import Frozen
from ppo.network.normaliser import Moments, ObsNormaliser
from tests.buffer.rollouts import RAW, prepare, roll
from tests.envs.toy import Both, Counter


def test_targets_bootstrap_the_true_last_observation_of_a_truncated_episode():
    """One-step episodes paid 1; those that observe 1 terminate (target 1), those that observe -1 are truncated and their
    last observation is -1 again (target 1 + gamma V(-1)), whatever the next episode starts with."""
    network, rollout, _, _ = roll(probe(8, 0, task="ending"), num_steps=16)
    batch = prepare(network, rollout)
    with torch.no_grad():
        v = network.value(torch.tensor([[-1.0]])).item()
    ended = batch.obs[:, 0] == 1
    assert 0 < ended.sum() < 128
    torch.testing.assert_close(batch.target, torch.where(ended, 1.0, 1 + 0.9 * v))
    torch.testing.assert_close(batch.advantage, batch.target - batch.value)


def test_the_last_observation_is_neither_the_one_acted_on_nor_the_next_episodes_first():
    """It shows a clock: 4 where the last action was chosen, 5 where that led to, 0 after the reset."""
    network, rollout, _, _ = roll(vector(Counter, 2, 0, "Counter"), num_steps=5)
    batch = prepare(network, rollout)
    assert rollout.next_obs[4, :, 1].tolist() == [5, 5] and rollout.terminated[4].tolist() == [True, False]
    with torch.no_grad():
        bootstrap = 0.9 * network.value(rollout.next_obs[4, 1].float())
    torch.testing.assert_close(batch.target[-1], rollout.reward[4, 1].float() + bootstrap)


def test_what_terminates_as_the_clock_runs_out_is_terminated():
    network, rollout, _, _ = roll(vector(Both, 2, 0, "Both"), num_steps=10)
    assert torch.equal(rollout.terminated, rollout.done) and rollout.done.sum() == 4
    batch = prepare(network, rollout)
    ended = rollout.done.flatten()
    torch.testing.assert_close(batch.target[ended], rollout.reward.flatten()[ended].float())


def test_policy_and_critic_see_the_same_fixed_statistics():
    """Acting and preparing normalise alike; the rollout keeps the raw observations."""
    moments = Moments.empty(3).update(torch.tensor([[0.0, 1.0, 2.0], [4.0, 1.0, 8.0]]))
    normalise = ObsNormaliser.of(moments)
    network, rollout, _, _ = roll(option("env", "gym", id="Pendulum-v1")(2, 0), num_steps=4, normalise=normalise)
    batch = prepare(network, rollout, normalise)
    expected = (rollout.obs - torch.tensor([2.0, 1.0, 5.0])) / torch.tensor([2.0, 1.0, 3.0])
    torch.testing.assert_close(batch.obs, expected.flatten(0, 1))
    torch.testing.assert_close(batch.policy.mean, network.policy(batch.obs).mean)
    torch.testing.assert_close(batch.value, network.value(batch.obs))


def test_a_batch_stands_still_while_parameters_move_and_leaves_the_rollout_as_it_was():
    """The behaviour policy is that of all epochs; what the batch shares with the rollout is only read."""
    network, rollout, _, _ = roll(probe(2, 0, task="target"), num_steps=3)
    kept = [x.clone() for x in leaves(rollout)]
    batch = prepare(network, rollout)
    policy = tree_map(torch.clone, batch.policy)
    for p in network.parameters():
        p.fill_(1.0)
    assert all(torch.equal(x, y) for x, y in zip(batch.policy, policy, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(leaves(rollout), kept, strict=True))


def test_what_else_a_batch_needs_is_drawn_for_the_same_states():
    """The frozen policy sees observations as they are; demonstrations are as many as samples."""
    network, rollout, _, _ = roll(probe(2, 0, task="target"), num_steps=3)
    normalise = ObsNormaliser(torch.tensor([0.5]), torch.tensor([2.0]), clip=10.0)
    asked = []

    def draw(given, shape):
        asked.append((given, shape))
        return Pairs(torch.full((*shape, 1), 7.0), torch.full((*shape, 1), 8.0))

    batch = prepare(network, rollout, normalise, reference=Frozen(network, RAW), demo=draw)
    torch.testing.assert_close(batch.reference.mean, network.policy(rollout.obs.flatten(0, 1)).mean)
    assert (batch.reference.mean - batch.policy.mean).abs().max() > 1e-3
    assert asked == [(normalise, (3, 2))] and batch.demo.obs.shape == (6, 1) and (batch.demo.action == 8).all()
    plain = prepare(network, rollout, normalise)
    assert plain.reference == () and plain.demo == () and plain.mask.all() and plain.noise.shape == (6, 0)


# The true successor


def rows(*ends: tuple[int, int], steps: int = 6, envs: int = 3):
    """(observations, those of the successors, done) [T, N, ...]: rows that follow each other but for where an episode
    ended, whose last observation is another than the one that the next episode starts with."""
    obs = torch.randn(steps + 1, envs, 2, generator=torch.Generator().manual_seed(0))
    done = torch.zeros(steps, envs, dtype=torch.bool)
    for t, n in ends:
        done[t, n] = True
    following = torch.where(done[..., None], obs[1:] + 10, obs[1:])
    return obs[:-1], following, done


ENDS = {
    "none": (),
    "one": ((2, 1),),
    "the first and the last row": ((0, 0), (5, 2)),
    "all of a row": ((3, 0), (3, 1), (3, 2)),
    "one after the other": ((1, 1), (2, 1), (3, 1)),
    "everywhere": tuple((t, n) for t in range(6) for n in range(3)),
}


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_the_value_of_a_successor_is_that_of_asking_for_every_one(ends):
    """Wherever episodes end, whatever the normaliser does."""
    obs, following, done = rows(*ends)
    network = option("network", "mlp", actor=[4], critic=[32])(2, 1, torch.Generator().manual_seed(0))
    params, evaluate = flatten(network), build_evaluate(network)
    normalise = ObsNormaliser(torch.tensor([0.5, -0.5]), torch.tensor([2.0, 3.0]), clip=4.0)

    def predict(part):
        return evaluate.value(params, part)

    def follow(part):
        return evaluate.value_after(params, part._replace(next_obs=normalise(part.next_obs)))

    dense = in_chunks(predict, Inputs(normalise(following)))
    value = in_chunks(predict, Inputs(normalise(obs)))
    got = successors(follow, value, Following(following), done)
    torch.testing.assert_close(got, dense, rtol=0, atol=1e-6)


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_the_critic_is_asked_for_no_successor_whose_value_is_known(ends):
    """For those after an episode's end and after the last row; and for one again and again where a chunk has to be full."""
    obs, following, done = rows(*ends)
    asked = []

    def predict(part):
        asked.extend(map(tuple, part.next_obs.tolist()))
        return part.next_obs.sum(-1)

    unknown = done.clone()
    unknown[-1] = True
    successors(predict, obs.sum(-1), Following(following), done)
    expected = set(map(tuple, following[unknown].tolist()))
    filler = tuple(following[0, 0].tolist())
    assert expected <= set(asked) <= expected | {filler}
    assert len(asked) - asked.count(filler) <= unknown.sum() <= len(asked)


@pytest.mark.parametrize("terminated", [True, False])
def test_an_episode_that_ends_is_learned_from_as_if_every_successor_had_been_asked_for(terminated):
    """Through ``Prepare``: terminated in the middle and at the last row, or truncated there."""
    network, rollout, _, _ = roll(vector(Counter, 2, 0, "Counter"), num_steps=10)
    rollout.terminated.copy_(rollout.done & terminated)
    batch = prepare(network, rollout)
    value, following = (network.value(x.float()) for x in (rollout.obs, rollout.next_obs))
    advantage, trace = torch.zeros(10, 2), torch.zeros(2)
    for t in reversed(range(10)):  # word for word
        target = rollout.reward[t] + 0.9 * torch.where(rollout.terminated[t], 0, following[t])
        trace = target - value[t] + 0.9 * 0.8 * torch.where(rollout.done[t], 0, trace)
        advantage[t] = trace
    assert rollout.done.sum() == 4
    torch.testing.assert_close(batch.advantage, advantage.flatten())
    torch.testing.assert_close(batch.target, (advantage + value).flatten())


def test_on_a_device_nothing_is_read_back_to_find_the_successors():
    """The meta device computes shapes only: whatever asks it for a number is an error. There all of them are asked for."""
    obs, following, done = (x.to("meta") for x in rows((2, 1)))
    asked = []

    def predict(part):
        asked.append(part.next_obs.shape)
        return part.next_obs.sum(-1)

    assert successors(predict, obs.sum(-1), Following(following), done).shape == (6, 3)
    assert asked == [(6, 3, 2)]


def test_what_is_masked_still_leads_the_memory_to_the_samples_after_it():
    """Here the masked sample begins an episode and does not end it: what follows was acted on with what it left behind."""
    network, rollout, _, _ = roll(
        option("env", "gym", id="Pendulum-v1")(2, 0), num_steps=8, network="gru", hidden=8, chunk=4
    )
    done, mask = torch.zeros(8, 2, dtype=torch.bool), torch.ones(8, 2, dtype=torch.bool)
    done[2, 0], mask[3:5, 0] = True, False
    params, evaluate = flatten(network), build_evaluate(network)
    batch = Prepare(evaluate, 0.9, 0.95)(rollout._replace(done=done, mask=mask), params, RAW, torch.Tensor.float)
    silenced = blank(batch)
    assert not silenced.mask.all() and (silenced.advantage[~silenced.mask] == 0).all()
    log_ratio = evaluate.policy(params, silenced).log_ratio(batch.policy, batch.action)
    assert log_ratio[silenced.mask].abs().max() < 1e-5


def test_advantages_are_recomputed_from_what_was_seen_not_from_what_the_mask_left():
    """The step before a masked one ends with the value of the state in which that began; a batch that is learned from has
    zeros there."""
    network, rollout, _, _ = roll(option("env", "gym", id="Pendulum-v1")(2, 0), num_steps=6)
    mask, broken = torch.ones(6, 2, dtype=torch.bool), (3, 0)
    mask[broken], done = False, rollout.done.clone()
    done[broken] = True
    rollout = rollout._replace(mask=mask, done=done)
    prepared = Prepare(build_evaluate(network), 0.9, 0.95)
    params = flatten(network)
    batch = prepared(rollout, params, RAW, torch.Tensor.float)
    again = prepared.refresh(rollout, RAW, torch.Tensor.float)(params, blank(batch))
    torch.testing.assert_close(again.advantage, batch.advantage, rtol=0, atol=0)
    assert again.advantage.abs().max() > 0
