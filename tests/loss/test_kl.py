"""The KL family: hand-computed values, direction, and agreement with torch.distributions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch.distributions import Independent, Normal, kl_divergence

from ppo.loss import kl
from ppo.network.distributions import Gaussian

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
TABLE = [  # mean and sigma of old, of new; KL(old || new), KL(new || old)
    (0.0, 1.0, 1.0, 1.0, 0.5, 0.5),
    (0.0, 1.0, 0.0, 2.0, 0.3181471805599453, 0.8068528194400547),
    (0.5, 0.8, -0.3, 1.2, 0.3499095525526088, 0.7195348918918356),
    (0.0, 0.01, 0.005, 0.02, 0.3493971805599453, 0.9318528194400547),
]


def gaussian(mean, sigma, dtype=torch.float64) -> Gaussian:
    mean, sigma = torch.broadcast_tensors(torch.tensor(mean, dtype=dtype), torch.tensor(sigma, dtype=dtype))
    return Gaussian(mean.reshape(1, -1), sigma.log().reshape(1, -1))


def independent(g: Gaussian) -> Independent:
    return Independent(Normal(g.mean, g.log_std.exp()), 1)


NOTHING = torch.zeros(1)


@BOTH
@pytest.mark.parametrize("row", TABLE)
def test_closed_forms_give_the_hand_computed_values_and_their_direction(row, dtype):
    m0, s0, m1, s1, forward, backward = row
    old, new, r = gaussian(m0, s0, dtype), gaussian(m1, s1, dtype), NOTHING.to(dtype)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    assert kl.exact(old, new, r).item() == pytest.approx(forward, abs=tolerance)
    assert kl.reverse(old, new, r).item() == pytest.approx(backward, abs=tolerance)
    assert kl.jeffreys(old, new, r).item() == pytest.approx((forward + backward) / 2, abs=tolerance)


def test_kl_is_summed_over_action_dimensions_not_averaged():
    old, new = gaussian([0.0] * 4, [1.0] * 4), gaussian([1.0] * 4, [1.0] * 4)
    assert kl.exact(old, new, NOTHING).item() == pytest.approx(4 * 0.5)


def test_parts_of_mean_and_deviation_add_up_by_dimension():
    """Dimension 0 moves its mean by one sigma (0.5 nats), dimension 1 doubles its sigma (ln 2 + 1/8 - 1/2 nats)."""
    mean_part, std_part = gaussian([0.0, 0.0], [1.0, 1.0]).kl_parts(gaussian([1.0, 0.0], [1.0, 2.0]))
    torch.testing.assert_close(mean_part, torch.tensor([[0.5, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(std_part, torch.tensor([[0.0, 0.3181471805599453]], dtype=torch.float64))


sigmas = st.floats(1e-4, 1e2)
means = st.floats(-5, 5)


@BOTH
@given(m0=means, s0=sigmas, m1=means, s1=sigmas)
@settings(max_examples=60, deadline=None)
def test_kl_is_never_negative_and_equals_torch_distributions(dtype, m0, s0, m1, s1):
    old, new = gaussian(m0, s0, dtype), gaussian(m1, s1, dtype)
    ours = kl.exact(old, new, NOTHING.to(dtype))
    wide = [Gaussian(g.mean.double(), g.log_std.double()) for g in (old, new)]
    theirs = kl_divergence(*map(independent, wide)).item()
    assert ours.item() >= 0
    # torch.distributions subtracts 1 and a logarithm from a ratio: it is itself good to 1e-14 only.
    assert ours.item() == pytest.approx(theirs, rel=1e-9 if dtype == torch.float64 else 2e-5, abs=1e-13)


@BOTH
@given(mean=means, sigma=sigmas)
@settings(max_examples=60, deadline=None)
def test_kl_of_a_policy_to_itself_is_zero_whatever_its_sigma(dtype, mean, sigma):
    p, r = gaussian([mean] * 3, [sigma] * 3, dtype), NOTHING.to(dtype)
    for name in ("exact", "reverse", "jeffreys", "k1", "k2", "k3", "k1_clamped"):
        assert getattr(kl, name)(p, p, r).item() == 0, name


def test_a_tiny_kl_keeps_its_digits_in_float32():
    """sigma grows by a factor e^d with d = 1e-4: KL = (e^-2d - 1 + 2d) / 2 = 9.9993e-9, far below float32's resolution
    at 1, in which the textbook formula computes."""
    zero, d = torch.zeros(1, 1), torch.full((1, 1), 1e-4)
    assert Gaussian(zero, zero).kl(Gaussian(zero, d)).item() == pytest.approx(9.9993e-9, rel=2e-3)


def test_gradient_of_the_exact_kl_vanishes_at_equality():
    p = gaussian([0.3, -2.0], [0.01, 7.0])
    new = Gaussian(p.mean.clone().requires_grad_(), p.log_std.clone().requires_grad_())
    kl.exact(p, new, NOTHING).sum().backward()
    assert new.mean.grad.abs().max() == 0 and new.log_std.grad.abs().max() == 0


@pytest.mark.parametrize(
    ("name", "at_minus_half", "at_half"),
    [
        ("k1", 0.5, -0.5),
        ("k2", 0.125, 0.125),
        ("k3", math.exp(-0.5) - 0.5, math.exp(0.5) - 1.5),
        ("k1_clamped", 0.5, 0.0),
    ],
)
def test_sampled_estimators_at_half_a_nat(name, at_minus_half, at_half):
    p = Gaussian(torch.zeros(2, 1), torch.zeros(2, 1))
    estimate = getattr(kl, name)(p, p, torch.tensor([-0.5, 0.5]))
    torch.testing.assert_close(estimate, torch.tensor([at_minus_half, at_half]))


def test_k1_and_k3_are_unbiased_for_the_exact_kl_and_clamping_is_biased_upward():
    """sigma 1 -> 1.1, mean 0 -> 0.1; 400 000 samples, five standard errors of k1 are 0.0013."""
    g = torch.Generator().manual_seed(0)
    old, new = gaussian(0.0, 1.0), gaussian(0.1, 1.1)
    action = Gaussian(*(x.expand(400_000, 1) for x in old)).sample(g)
    r = new.log_prob(action) - old.log_prob(action)
    exact = kl.exact(old, new, NOTHING).item()
    assert kl.k1(old, new, r).mean().item() == pytest.approx(exact, abs=0.0013)
    assert kl.k3(old, new, r).mean().item() == pytest.approx(exact, abs=0.0003)
    assert kl.k1_clamped(old, new, r).mean().item() > 4 * exact


def test_log_prob_and_entropy_equal_torch_distributions():
    g = torch.Generator().manual_seed(0)
    p = Gaussian(*torch.randn(2, 50, 6, generator=g, dtype=torch.float64))
    action = p.sample(g)
    torch.testing.assert_close(p.log_prob(action), independent(p).log_prob(action))
    torch.testing.assert_close(p.entropy(), independent(p).entropy())


@BOTH
def test_the_log_ratio_is_the_difference_of_log_probabilities_and_exactly_zero_at_equality(dtype):
    g = torch.Generator().manual_seed(0)
    old, new = (Gaussian(*torch.randn(2, 50, 6, generator=g, dtype=dtype)) for _ in range(2))
    action = old.sample(g)
    expected = independent(new).log_prob(action) - independent(old).log_prob(action)
    torch.testing.assert_close(new.log_ratio(old, action), expected, rtol=1e-4, atol=1e-4)
    assert new.log_ratio(new, 1e6 * action).abs().max() == 0


def test_actions_without_their_axis_are_refused():
    """[B] against means [B, 1] would silently give [B, B]."""
    p = Gaussian(torch.zeros(4, 1), torch.zeros(4, 1))
    for attempt in (lambda: p.log_prob(torch.zeros(4)), lambda: p.log_ratio(p, torch.zeros(4))):
        with pytest.raises(TypeCheckError):
            attempt()


def test_samples_have_the_mean_and_the_deviation():
    """100 000 samples: the standard error of the mean is 0.0016, of the deviation 0.0011."""
    p = Gaussian(torch.full((100_000, 1), 2.0), torch.full((100_000, 1), math.log(0.5)))
    action = p.sample(torch.Generator().manual_seed(0))
    assert action.mean().item() == pytest.approx(2.0, abs=0.008)
    assert action.std().item() == pytest.approx(0.5, abs=0.006)


def test_a_fixed_bijection_leaves_kl_and_ratio_alone():
    """The density of tanh(a) is that of a over |dtanh/da|: the same factor for old and new, so the ratio is that of a,
    which is why the stored action is the unsquashed one. Inverting tanh at an action of 9 sigma gives another."""
    old, new = gaussian(0.0, 1.0, torch.float32), gaussian(0.1, 1.0, torch.float32)
    action = torch.tensor([[9.0]])
    assert new.log_ratio(old, action).item() == pytest.approx(0.895, abs=1e-4)
    inverted = torch.atanh(torch.tanh(action).clamp(-1 + 1e-6, 1 - 1e-6))
    assert new.log_ratio(old, inverted).item() < 0.8
