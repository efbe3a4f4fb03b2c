"""The same weights, batch and settings as Stable-Baselines3's PPO: the same loss, terms, gradient and step."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor

from ppo.buffer.data import Batch
from ppo.loss import norm
from ppo.network.distributions import Gaussian
from ppo.update.optim import adam, clip_norm
from ppo.update.total import Guards, build_loss

pytest.importorskip("stable_baselines3")
from stable_baselines3 import PPO

CLIP, VALUE, ENTROPY, LR, LONGEST = 0.2, 0.5, 0.01, 3e-4, 0.5


class Nothing(gymnasium.Env):
    """Its spaces are all that is needed of it."""

    observation_space, action_space = Box(-9, 9, (3,)), Box(-9, 9, (2,))


@pytest.fixture
def theirs(problem):
    """Their algorithm with our parameters, moved away from the behaviour policy that drew the batch."""
    p = problem(64, moved=0.05)
    nets = {"net_arch": {"pi": [8], "vf": [8]}, "activation_fn": torch.nn.Tanh}
    model = PPO(
        "MlpPolicy", Nothing(), ent_coef=ENTROPY, vf_coef=VALUE, learning_rate=LR, policy_kwargs=nets, device="cpu"
    )
    policy, ours = model.policy, dict(p.module.named_parameters())
    names = {  # of theirs, what ours is called
        "mlp_extractor.policy_net.0": "actor.0",
        "action_net": "actor.2",
        "mlp_extractor.value_net.0": "critic.0",
        "value_net": "critic.2",
    }
    pairs = {f"{t}.{kind}": f"{o}.{kind}" for t, o in names.items() for kind in ("weight", "bias")} | {
        "log_std": "log_std"
    }
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            parameter.copy_(ours[pairs[name]])
    return p, policy, pairs


def their_loss(policy, batch: Batch) -> dict[str, Tensor]:
    """The lines of their ``PPO.train`` for one minibatch, with their policy."""
    values, log_prob, entropy = policy.evaluate_actions(batch.obs, batch.action)
    advantages = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
    ratio = torch.exp(log_prob - batch.policy.log_prob(batch.action))
    clipped = torch.clamp(ratio, 1 - CLIP, 1 + CLIP)
    terms = {
        "policy": -torch.min(advantages * ratio, advantages * clipped).mean(),
        "value": torch.nn.functional.mse_loss(batch.target, values.flatten()),
        "entropy": -entropy.mean(),
    }
    return terms | {"total": terms["policy"] + ENTROPY * terms["entropy"] + VALUE * terms["value"]}


def test_loss_gradient_and_step_are_theirs(theirs, numbers, make_loss):
    from ppo.loss.terms import Term, entropy

    p, policy, pairs = theirs
    expected = their_loss(policy, p.batch)
    policy.optimizer.zero_grad()
    expected["total"].backward()
    gradient = {pairs[name]: x.grad.clone() for name, x in policy.named_parameters()}
    torch.nn.utils.clip_grad_norm_(policy.parameters(), LONGEST)
    policy.optimizer.step()

    advantage, _ = norm.minibatch(p.batch.advantage[None], p.batch.group[None], p.batch.mask[None], None)
    batch = p.batch._replace(advantage=advantage[0])
    knobs = numbers(lr=LR, value=VALUE, max_grad_norm=LONGEST, coef={"entropy": ENTROPY})
    total_of = build_loss(p.evaluate, make_loss(terms=(Term("entropy", entropy),)), Guards())
    weight = batch.mask.float() / len(batch.value)
    ours, (total, samples) = torch.func.grad_and_value(total_of, has_aux=True)(p.learner.params, batch, weight, knobs)

    assert total.item() == pytest.approx(expected["total"].item(), abs=1e-6)
    assert -samples.objective.mean().item() == pytest.approx(expected["policy"].item(), abs=1e-6)
    assert samples.value_loss.mean().item() == pytest.approx(expected["value"].item(), abs=1e-6)
    assert samples.terms["entropy"].mean().item() == pytest.approx(expected["entropy"].item(), abs=1e-6)
    for name, part in p.evaluate.cut(ours).items():
        torch.testing.assert_close(part, gradient[name], rtol=0, atol=1e-6)
    clipped, _ = clip_norm(ours, knobs.max_grad_norm)
    stepped = p.evaluate.cut(adam(p.learner, clipped, knobs.lr).params)
    for name, parameter in policy.named_parameters():
        torch.testing.assert_close(stepped[pairs[name]], parameter.detach(), rtol=0, atol=1e-6)


def test_what_they_compare_the_new_policy_with_is_its_log_prob(theirs):
    p, policy, _ = theirs
    _, log_prob, entropy = policy.evaluate_actions(p.batch.obs, p.batch.action)
    ours = Gaussian(*p.module(p.batch.obs)[0])
    np.testing.assert_allclose(ours.log_prob(p.batch.action).detach(), log_prob.detach(), atol=1e-5)
    np.testing.assert_allclose(ours.entropy().detach(), entropy.detach(), atol=1e-6)
