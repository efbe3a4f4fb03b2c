"""Old and new policy are the same before anything is learned: rounding is no reason to end a run, a moved one is."""

import math

import pytest
import torch

from ppo.buffer.data import Batch
from ppo.network.distributions import Categorical, Gaussian
from ppo.update.report import OffPolicyError, check_acting, check_on_policy


def batch_of(policy) -> Batch:
    rows = torch.zeros(3)
    whole, none = torch.ones(3, dtype=torch.bool), rows[:, None][:, :0]
    return Batch(none, none, policy, rows, rows, rows, rows.long(), whole, none)


def gaussian(log_std: float, shift: float = 0.0, size: float = 1.0) -> Gaussian:
    mean = size * torch.linspace(-1, 1, 6).view(3, 2)
    return Gaussian(mean + shift, torch.full((3, 2), log_std))


def acted(policy):
    """[T, N, ...] with N = 1."""
    return type(policy)(*(x[:, None] for x in policy))


@pytest.mark.parametrize(("log_std", "size"), [(0.0, 1.0), (-7.0, 1.0), (-10.0, 1.0), (-7.0, 100.0)])
def test_rounding_of_a_mean_is_none_of_the_policy(log_std, size):
    """1.7e-6 at a mean of size 1, as a network of 256x256 errs: thousandths of a sigma at log_std -7."""
    here = gaussian(log_std, size=size)
    there = gaussian(log_std, 1.7e-6 * size, size)
    found = check_acting(acted(there), batch_of(here), limit=1e-3)
    check_on_policy({"check/first_log_ratio": found["check/acting"], "check/first_kl": 0.0} | found, limit=1e-3)


@pytest.mark.parametrize("log_std", [0.0, -3.0])
def test_a_policy_that_moved_is_refused(log_std):
    here, there = gaussian(log_std), gaussian(log_std, 0.02)
    with pytest.raises(OffPolicyError, match="sigma away"):
        check_acting(acted(there), batch_of(here), limit=1e-3)
    found = check_acting(acted(here), batch_of(here), limit=1e-3)
    with pytest.raises(OffPolicyError, match="first minibatch"):
        check_on_policy(found | {"check/first_log_ratio": 0.5, "check/first_kl": 0.1}, limit=1e-3)
    with pytest.raises(OffPolicyError, match="first minibatch"):
        check_on_policy(found | {"check/first_log_ratio": math.nan, "check/first_kl": 0.1}, limit=1e-3)


def test_discrete_policies_are_compared_by_their_log_probabilities():
    here = Categorical(torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.0, 0.0]]))
    check_acting(acted(here), batch_of(here), limit=1e-3)
    with pytest.raises(OffPolicyError):
        check_acting(acted(Categorical(here.logits + torch.tensor([0.1, 0.0]))), batch_of(here), limit=1e-3)


def test_a_policy_that_is_not_finite_is_left_to_the_guard_of_the_step():
    spoilt = gaussian(0.0)._replace(mean=torch.full((3, 2), math.nan))
    check_acting(acted(spoilt), batch_of(spoilt), limit=1e-3)


def test_an_update_that_was_refused_for_a_number_says_nothing_of_the_first_minibatch():
    """Its log-ratio may be anything; the run is told what was not finite."""
    found = check_acting(acted(gaussian(0.0)), batch_of(gaussian(0.0)), limit=1e-3)
    found |= {"check/first_log_ratio": math.nan, "check/first_kl": math.nan}
    check_on_policy(found | {"update/stop": "nonfinite"}, limit=1e-3)
    with pytest.raises(OffPolicyError):
        check_on_policy(found | {"update/stop": "none"}, limit=1e-3)
