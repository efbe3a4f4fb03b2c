"""A rollout of a network with memory: learned from in pieces, which begin with what was remembered there."""

import pytest
import torch
from torch import nn

from envs.vector import vector
from ppo.buffer.data import in_pieces, in_time
from ppo.buffer.minibatches import random_order, shuffle, unstack
from ppo.buffer.prepare import Prepare
from ppo.network.flat import build_evaluate, flatten
from ppo.network.frozen import Frozen
from tests.buffer.rollouts import RAW, prepare, roll
from tests.envs.toy import Counter

STEPS, ROWS, CHUNK = 24, 3, 4
GAMMA, LAM = 0.9, 0.8  # of ``prepare``


@pytest.fixture
def rolled():
    """(network, rollout, memory after it) of episodes of five steps, which end anywhere in the pieces of four."""
    network, rollout, *_ = roll(
        vector(Counter, ROWS, 0, "Counter"), num_steps=STEPS, network="gru", hidden=6, chunk=CHUNK
    )
    return network, rollout


def test_a_row_holds_a_piece_of_each_sub_environment_one_after_the_other():
    x = torch.arange(STEPS * ROWS).view(STEPS, ROWS)
    pieces = in_pieces(x, CHUNK)
    assert pieces.shape == (STEPS // CHUNK, ROWS * CHUNK)
    assert pieces[1].tolist() == [x[t, n].item() for n in range(ROWS) for t in range(4, 8)]
    assert torch.equal(in_time(pieces, CHUNK), x)
    assert in_pieces(x, 1).data_ptr() == x.data_ptr() and torch.equal(in_pieces(x, 1), x)  # nothing is moved


def test_a_random_order_keeps_pieces_whole_and_is_a_plain_permutation_for_single_samples():
    order = random_order(24, CHUNK, torch.Generator().manual_seed(0)).view(-1, CHUNK)
    assert sorted(order.flatten().tolist()) == list(range(24)) and (order[:, 0] % CHUNK == 0).all()
    assert (order.diff(dim=1) == 1).all() and (order[:, 0].diff() < 0).any()
    single, plain = (torch.Generator().manual_seed(1) for _ in range(2))
    assert torch.equal(random_order(24, 1, single), torch.randperm(24, generator=plain))


class Plain(nn.Module):
    """Actor or critic as anybody would write them."""

    def __init__(self, part):
        super().__init__()
        gru, *rest = part
        self.cell, self.rest = nn.GRUCell(gru.weight_ih.shape[1], gru.hidden), nn.Sequential(*rest)
        self.cell.load_state_dict(gru.state_dict())

    def forward(self, obs, h):
        h = self.cell(obs, h)
        return self.rest(h), h


@torch.no_grad()
def test_policy_value_advantage_and_target_are_those_of_a_plain_loop_over_time(rolled):
    """Without pieces: step by step from the beginning, memory 0 where an episode begins; the true successor is seen with
    the memory after the step."""
    network, rollout = rolled
    obs, next_obs = rollout.obs.float(), rollout.next_obs.float()
    actor, critic = Plain(network.actor), Plain(network.critic)
    mean, value, following = (torch.zeros(STEPS, ROWS) for _ in range(3))
    ha, hc = torch.zeros(ROWS, 6), torch.zeros(ROWS, 6)
    for t in range(STEPS):
        torch.testing.assert_close(rollout.memory[t], torch.cat([ha, hc], 1))
        (m, ha), (v, hc) = actor(obs[t], ha), critic(obs[t], hc)
        mean[t], value[t], following[t] = m[:, 0], v[:, 0], critic(next_obs[t], hc)[0][:, 0]
        going = ~rollout.done[t, :, None]
        ha, hc = ha * going, hc * going
    torch.testing.assert_close(rollout.policy.mean[..., 0], mean)
    advantage, trace = torch.zeros(STEPS, ROWS), torch.zeros(ROWS)
    for t in reversed(range(STEPS)):
        target = rollout.reward[t] + GAMMA * torch.where(rollout.terminated[t], 0, following[t])
        trace = target - value[t] + GAMMA * LAM * torch.where(rollout.done[t], 0, trace)
        advantage[t] = trace
    batch = prepare(network, rollout)
    assert 0 < rollout.done.sum() < rollout.done.numel() / 4 and rollout.done[:, 0].nonzero().flatten()[0] % CHUNK != 3
    for found, expected in (
        (batch.policy.mean[:, 0], mean),
        (batch.value, value),
        (batch.advantage, advantage),
        (batch.target, advantage + value),
        (batch.obs, obs),
        (batch.first, torch.cat([torch.zeros(1, ROWS, dtype=torch.bool), rollout.done[:-1]])),
    ):
        torch.testing.assert_close(found, in_pieces(expected, CHUNK).flatten(0, 1))


def test_minibatches_have_the_policy_of_the_whole_rollout(rolled):
    """Shuffled as in an epoch: every ratio is 1 exactly, as the products have the same rows only to rounding."""
    network, rollout = rolled
    batch, evaluate, params = prepare(network, rollout), build_evaluate(network), flatten(network)
    order = random_order(len(batch.value), CHUNK, torch.Generator().manual_seed(0))
    for minibatch in unstack(shuffle(batch, 8, order)):
        policy, value = evaluate(params, minibatch)
        assert policy.log_ratio(minibatch.policy, minibatch.action).abs().max() < 1e-5
        assert policy.kl(minibatch.policy).abs().max() < 1e-10
        torch.testing.assert_close(value, minibatch.value)


def test_refreshed_advantages_are_those_of_a_rollout_that_is_prepared_again(rolled):
    network, rollout = rolled
    made = Prepare(build_evaluate(network), gamma=GAMMA, lam=LAM)
    params = flatten(network)
    batch = made(rollout, params, RAW, torch.Tensor.float)
    moved = params + 0.1
    found = made.refresh(rollout, RAW, torch.Tensor.float)(moved, batch)
    expected = made(rollout, moved, RAW, torch.Tensor.float)
    torch.testing.assert_close(found.advantage, expected.advantage)
    torch.testing.assert_close(found.target, expected.target)
    assert (found.advantage - batch.advantage).abs().max() > 1e-3 and torch.equal(found.value, batch.value)


@torch.no_grad()
def test_a_frozen_policy_follows_a_rollout_with_a_memory_of_its_own(rolled):
    """In two halves as in one: it takes over what it remembered."""
    network, rollout = rolled
    frozen = Frozen(network, RAW)
    memory, means = frozen.empty_memory(ROWS), []
    for part in (slice(0, 7), slice(7, STEPS)):
        obs, done = rollout.obs[part], rollout.done[part]
        means.append(frozen.along(obs, done, memory).mean)
        memory = frozen.remember(obs, done, memory)
    torch.testing.assert_close(torch.cat(means), rollout.policy.mean)
    made = Prepare(build_evaluate(network), gamma=GAMMA, lam=LAM, reference=frozen)
    batch = made(rollout, flatten(network), RAW, torch.Tensor.float, frozen.empty_memory(ROWS))
    torch.testing.assert_close(batch.reference.mean, batch.policy.mean)
