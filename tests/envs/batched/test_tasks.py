"""The tasks: against gymnasium, against conservation laws, against what is worked out by hand."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from envs.batched import cartpole
from envs.batched.pendulum import Pendulum
from envs.batched.reacher import ARENA, RADIUS, Reacher
from envs.batched.tasks import TASKS


def test_the_pendulum_is_gymnasiums():
    """200 steps of two episodes from the same states with the same actions; state in float64, as gymnasium has it."""
    task, rng = Pendulum(), np.random.default_rng(0)
    envs = [gymnasium.make("Pendulum-v1") for _ in range(2)]
    for i, env in enumerate(envs):
        env.reset(seed=i)
    state = torch.tensor(np.array([env.unwrapped.state for env in envs]))
    for step in range(200):
        action = rng.uniform(-2.5, 2.5, (2, 1))
        state, reward, terminated = task.move(state, torch.tensor(action))
        theirs = [env.step(a) for env, a in zip(envs, action, strict=True)]
        np.testing.assert_allclose(state, [env.unwrapped.state for env in envs], rtol=0, atol=1e-9)
        np.testing.assert_allclose(task.observe(state), [t[0] for t in theirs], rtol=0, atol=1e-6)
        np.testing.assert_allclose(reward, [t[1] for t in theirs], rtol=0, atol=1e-9)
        assert not terminated.any() and all(t[3] == (step + 1 == task.limit) for t in theirs)
    low = task.begin(torch.zeros(1, 2)), task.begin(torch.ones(1, 2))
    np.testing.assert_allclose(torch.cat(low), [[-np.pi, -1], [np.pi, 1]], rtol=1e-6)
    ours = Pendulum.action_space, envs[0].action_space
    assert ours[0] == ours[1]


def test_a_cart_pole_without_a_force_keeps_its_energy():
    """And its momentum along the track: half a second of swinging from any state, with small steps; up to 1 J are at play."""
    g = torch.Generator().manual_seed(0)
    x, angle, v, spin = (2 * torch.rand(4, 50, generator=g, dtype=torch.float64) - 1) * torch.tensor(
        [[1.0], [3], [1], [3]]
    )
    first, force = cartpole.energy(x, angle, v, spin), torch.zeros(50, dtype=torch.float64)
    momentum = (cartpole.CART + cartpole.POLE) * v + cartpole.POLE * cartpole.HALF * spin * torch.cos(angle)
    for _ in range(500):
        x, angle, v, spin = cartpole.stepped(x, angle, v, spin, force, 1e-3)
    assert (cartpole.energy(x, angle, v, spin) - first).abs().max() < 3e-3
    after = (cartpole.CART + cartpole.POLE) * v + cartpole.POLE * cartpole.HALF * spin * torch.cos(angle)
    torch.testing.assert_close(after, momentum, rtol=0, atol=2e-3)


def test_the_cart_pole_hangs_at_first_and_is_paid_upright():
    task = cartpole.CartPoleSwingUp()
    state = task.begin(torch.full((1, 4), 0.5))
    _, reward, terminated = task.move(state, torch.zeros(1, 1))
    assert abs(reward.item()) < 1e-6 and not terminated
    _, reward, _ = task.move(torch.zeros(1, 4), torch.zeros(1, 1))
    assert reward.item() == 1
    assert task.move(torch.tensor([[2.39, 0.0, 1.0, 0.0]]), torch.ones(1, 1))[2].all()


def test_the_reacher_reaches_and_hits():
    task, still = Reacher(), torch.zeros(1, 2)
    u = torch.rand(500, task.draws, generator=torch.Generator().manual_seed(0))
    state = task.begin(u)
    position, target, discs = state[:, :2], state[:, 4:6], state[:, 6:].view(-1, 3, 2)
    for free in (position, target):  # neither begins nor ends within a disc, or outside
        assert ((discs - free[:, None]).norm(dim=-1) > RADIUS).all() and (free.abs() < ARENA).all()
    at = torch.tensor([[0.9, 0.1, 0, 0, 0.9, 0.1, 0, 0, 0, 0.5, 0, -0.5]])
    _, reward, lost = task.move(at, still)
    assert reward.item() == 1 and not lost
    on_disc = at.clone()
    on_disc[:, :2] = torch.tensor([0.1, 0.1])
    _, reward, lost = task.move(on_disc, still)
    assert reward.item() == -1 and lost
    outside = at.clone()
    outside[:, :4] = torch.tensor([1.49, 0.0, 1.0, 0.0])
    assert task.move(outside, still)[2].all()
    moved = task.move(at, torch.ones(1, 2))[0]  # semi-implicit: speed 0.05 * 4, then 0.05 of that
    torch.testing.assert_close(moved[0, 2:4], torch.full((2,), 0.2))
    torch.testing.assert_close(moved[0, :2], torch.tensor([0.91, 0.11]))


@pytest.mark.parametrize(
    ("id", "name"),
    [("Pendulum", "pendulum"), ("CartPoleSwingUp", "cartpole_swingup"), ("Reacher", "reacher"), ("Hopper", "hopper")],
)
def test_one_world_is_an_environment_of_gymnasium(id, name):
    """gymnasium's own checker passes it, and it steps as the batched world does from the same numbers."""
    env = gymnasium.make(f"envs/{id}-v0").unwrapped
    with warnings.catch_warnings():  # of observations without bounds
        warnings.simplefilter("ignore")
        check_env(env, skip_render_check=True)
    task = TASKS[name]()
    first, _ = env.reset(seed=3)
    drawn = np.random.default_rng(3)  # what gymnasium makes of a seed
    state = task.begin(torch.tensor(drawn.random((1, task.draws), np.float32)))
    np.testing.assert_array_equal(first, task.observe(state)[0])
    action, clock = 0.1 * torch.ones(1, task.action_space.shape[0]), 0
    truncated = terminated = False
    while not (truncated or terminated):
        state, reward, ended = task.move(state, action)
        obs, paid, terminated, truncated, _ = env.step(action[0].numpy())
        clock += 1
        assert (paid, terminated, truncated) == (reward.item(), bool(ended), clock == task.limit)
        np.testing.assert_array_equal(obs, task.observe(state)[0])
