"""Heads whose deviation is an output, and the distributions beside the Gaussian."""

import math

import pytest
import torch
from torch.distributions import Categorical as Reference
from torch.distributions import Normal, TanhTransform, TransformedDistribution, kl_divergence

from ppo.config.options import option
from ppo.loss import kl as kl_family
from ppo.network.distributions import Categorical, Gaussian, Several, Squashed

# A deviation that is an output


def small(head="state_std", **options):
    build = option("network", head, **{"actor": [8], "critic": [8]} | options)
    return build(3, 2, torch.Generator().manual_seed(0))


def test_the_deviation_starts_the_same_everywhere_and_is_then_a_function_of_the_state():
    network = small(log_std=-0.5)
    obs = torch.randn(20, 3)
    assert (network.policy(obs).log_std == -0.5).all()
    with torch.no_grad():
        network.actor[-1].weight.add_(0.3)
    assert network.policy(obs).log_std.std(0).min() > 0.01


@pytest.mark.parametrize(("bias", "bound"), [(-50.0, -3.0), (50.0, 1.0)])
def test_at_a_bound_the_deviation_stays_and_its_gradient_lives(bias, bound):
    network = small(log_std_min=-3.0, log_std_max=1.0)
    with torch.no_grad():
        network.actor[-1].bias[2:] = bias
    policy = network.policy(torch.randn(4, 3))
    torch.testing.assert_close(policy.log_std, torch.full((4, 2), bound))
    policy.entropy().sum().backward()
    torch.testing.assert_close(network.actor[-1].bias.grad, torch.tensor([0.0, 0, 0.04, 0.04]))


# Squashed


@pytest.mark.parametrize("head", ["mlp", "gsde", "state_std"])
def test_squash_changes_the_entropy_and_nothing_else(head):
    obs = torch.randn(5, 3)
    plain, squashed = (small(head, squash=squash).policy(obs) for squash in (False, True))
    assert type(plain) is Gaussian and type(squashed) is Squashed
    assert all(torch.equal(x, y) for x, y in zip(plain, squashed))
    moved = Squashed(squashed.mean + 0.1, squashed.log_std)
    assert torch.equal(squashed.kl(moved), plain.kl(Gaussian(*moved)))
    assert torch.equal(moved.log_ratio(squashed, plain.mean), Gaussian(*moved).log_ratio(plain, plain.mean))
    assert (squashed.entropy() < plain.entropy()).all()


def test_the_density_is_that_of_the_squashed_action():
    """As PyTorch's transformed distribution has it, and as it integrates to 1 over (-1, 1)."""
    g = torch.Generator().manual_seed(0)
    p = Squashed(*torch.randn(2, 6, 2, generator=g, dtype=torch.float64))
    action = p.sample(g)
    reference = (
        TransformedDistribution(Normal(p.mean, p.log_std.exp()), TanhTransform()).log_prob(action.tanh()).sum(-1)
    )
    torch.testing.assert_close(p.log_prob(action), reference)
    squashed = torch.linspace(-1, 1, 200_003, dtype=torch.float64)[1:-1]
    one = Squashed(*(torch.full((len(squashed), 1), x, dtype=torch.float64) for x in (0.3, -0.5)))
    assert torch.trapezoid(one.log_prob(squashed.atanh()[:, None]).exp(), squashed).item() == pytest.approx(1, abs=1e-4)
    assert torch.isfinite(Squashed(*torch.zeros(2, 1, 1)).log_prob(torch.tensor([[60.0]]))).all()


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (0.5, -1.0), (2.0, 1.0), (-3.0, -4.0)])
def test_the_entropy_is_that_of_the_squashed_action(mean, log_std):
    """Against the integral of -p log p over the line, p the Gaussian and log p the squashed density."""
    x = mean + math.exp(log_std) * torch.linspace(-12, 12, 100_001, dtype=torch.float64)[:, None]
    p = Squashed(torch.full_like(x, mean), torch.full_like(x, log_std))
    integral = torch.trapezoid(-Gaussian(*p).log_prob(x).exp() * p.log_prob(x), x[:, 0])
    assert p.entropy()[0].item() == pytest.approx(integral.item(), abs=1e-4)


def test_the_entropy_of_squashed_actions_has_a_greatest_value():
    """A uniform action on (-1, 1) has log 2; the Gaussian's entropy would go on growing."""
    log_std = torch.linspace(-5, 2, 200)[:, None]
    entropy = Squashed(torch.zeros_like(log_std), log_std).entropy()
    best = entropy.argmax()
    assert 0 < best < 199 and entropy[best] < math.log(2) and abs(log_std[best].item()) < 0.5


# Categorical


def logits(*shape, dtype=torch.float64, scale=2.0, seed=0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_a_categorical_is_pytorchs():
    old, new = Categorical(logits(50, 4)), Categorical(logits(50, 4, seed=1))
    one, two = Reference(logits=old.logits), Reference(logits=new.logits)
    action = one.sample()
    torch.testing.assert_close(new.log_prob(action), two.log_prob(action))
    torch.testing.assert_close(new.log_ratio(old, action), two.log_prob(action) - one.log_prob(action))
    torch.testing.assert_close(new.entropy(), two.entropy())
    torch.testing.assert_close(old.kl(new), kl_divergence(one, two))
    assert (old.kl(new) > 0).all() and torch.equal(new.mode(), new.logits.argmax(-1))


def test_known_divergences_of_categoricals():
    """p = (1/2, 1/2), q = (1/4, 3/4): log(4/3) / 2 forward, (3 log 3) / 4 - log 2 backward."""
    p, q = (Categorical(torch.tensor([x], dtype=torch.float64).log()) for x in ([0.5, 0.5], [0.25, 0.75]))
    assert p.kl(q).item() == pytest.approx(0.5 * math.log(4 / 3), abs=1e-15)
    assert q.kl(p).item() == pytest.approx(0.75 * math.log(3) - math.log(2), abs=1e-15)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_the_divergence_of_equals_is_zero_and_none_is_negative(dtype, tolerance):
    for scale in (1e-3, 1.0, 30.0):
        p, shifted = Categorical(logits(99, 5, dtype=dtype, scale=scale)), logits(99, 5, dtype=dtype, scale=scale) + 3
        assert (p.kl(p) == 0).all() and p.kl(Categorical(shifted)).abs().max() <= tolerance * max(1.0, scale)
        q = Categorical(p.logits + logits(99, 5, dtype=dtype, scale=scale, seed=1))
        assert (p.kl(q) >= -tolerance).all() and (q.kl(p) >= -tolerance).all()


def test_a_tiny_divergence_keeps_its_digits_in_float32():
    """Logits 1e-4 apart: about 1e-9, where p (log p - log q) summed in float32 has no digit right."""
    p = logits(99, 4)
    q = p + 1e-4 * logits(99, 4, seed=1)
    exact = kl_divergence(Reference(logits=p), Reference(logits=q))
    ours = Categorical(p.float()).kl(Categorical(p.float() + (q - p).float())).double()
    again = kl_divergence(Reference(logits=p.float()), Reference(logits=q.float())).double()
    assert (ours / exact - 1).abs().median() < 0.02 < (again / exact - 1).abs().median()


def test_an_action_that_cannot_be_counts_as_nothing():
    """p = 0: no NaN in value or gradient, in any of what is asked. q = 0 < p: infinite, as it is."""
    old = Categorical(torch.tensor([[0.0, 1.0, -math.inf], [0.0, 2.0, -300.0]]))
    new = Categorical(torch.tensor([[0.5, 0.0, -math.inf], [0.0, 1.0, 300.0]], requires_grad=True))
    expected = kl_divergence(Reference(logits=old.logits[0, :2]), Reference(logits=new.logits[0, :2]))
    torch.testing.assert_close(old.kl(new)[0], expected)
    (new.kl(old)[0] + old.kl(new)[0] + new.entropy().sum()).backward()
    assert torch.isfinite(new.logits.grad).all()
    assert Categorical(torch.zeros(1, 3)).kl(Categorical(old.logits[:1])).item() == math.inf


def test_gradients_of_categorical_divergences():
    """Of the closed form, near and far, by finite differences; at equality 0."""
    p = logits(6, 3)
    for scale in (0.1, 5.0):
        q = (p + logits(6, 3, scale=scale, seed=1)).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: Categorical(p).kl(Categorical(x)), q)
        assert torch.autograd.gradcheck(lambda x: Categorical(x).kl(Categorical(p)), q)
    q = p.clone().requires_grad_()
    Categorical(p).kl(Categorical(q)).sum().backward()
    assert q.grad.abs().max() < 1e-12


def test_the_family_holds_for_categoricals():
    """Over 400 000 actions k1 and k3 estimate the closed form, and every member is 0 at equality."""
    g = torch.Generator().manual_seed(0)
    old, new = (Categorical(x.expand(400_000, 4)) for x in (logits(1, 4, scale=0.5), logits(1, 4, scale=0.5, seed=1)))
    action = old.sample(g)
    r, exact = new.log_ratio(old, action), kl_family.exact(old, new, torch.zeros(400_000)).mean()
    assert exact > 0.05
    for estimator in (kl_family.k1, kl_family.k3):
        samples = estimator(old, new, r)
        assert (samples.mean() - exact).abs() < 4 * samples.std() / len(samples) ** 0.5
    for name in ("exact", "reverse", "jeffreys", "k1", "k2", "k3", "k1_clamped"):
        assert getattr(kl_family, name)(old, old, old.log_ratio(old, action)).abs().max() == 0


@pytest.mark.parametrize("masked", [-math.inf, -1e8, -1e4])
@pytest.mark.parametrize("shape", [(3,), (1, 3)], ids=["one", "several"])
def test_an_action_that_is_masked_hides_no_difference_of_the_others(masked, shape):
    """A mask of either kind: its logit is no measure of rounding, and it is itself no difference."""
    kind = Categorical if len(shape) == 1 else Several
    p, q, r = (
        kind(torch.tensor([x, y, masked + z]).view(1, *shape)) for x, y, z in ((5, -3, 0), (0, 1, 0), (5, -3, 8))
    )
    log_p, log_q = (torch.log_softmax(torch.tensor(x), 0) for x in ([5.0, -3.0], [0.0, 1.0]))
    assert p.distance(q).item() == pytest.approx((log_p - log_q).abs().max().item(), rel=1e-6)
    assert p.distance(r).item() == 0 and p.sharpness().item() == 5


# Several discrete actions at once


def padded(*factors, dtype=torch.float64):
    """Logits [1, K, n] of these probabilities."""
    most = max(map(len, factors))
    return torch.tensor([[[*x, *[0.0] * (most - len(x))] for x in factors]], dtype=dtype).log()


def test_known_numbers_of_a_product_of_categoricals():
    """p = (1/2, 1/2) x (1/2, 1/4, 1/4), q = (1/4, 3/4) x (1/4, 1/4, 1/2)."""
    p = Several(padded([0.5, 0.5], [0.5, 0.25, 0.25]))
    q = Several(padded([0.25, 0.75], [0.25, 0.25, 0.5]))
    assert p.kl(q).item() == pytest.approx(0.5 * math.log(4 / 3) + 0.25 * math.log(2), abs=1e-15)
    assert q.kl(p).item() == pytest.approx(0.75 * math.log(3) - math.log(2) + 0.25 * math.log(2), abs=1e-15)
    action = torch.tensor([[1, 2]])
    assert p.log_prob(action).item() == pytest.approx(math.log(1 / 8))
    assert q.log_ratio(p, action).item() == pytest.approx(math.log(3))
    assert p.entropy().item() == pytest.approx(2.5 * math.log(2))
    assert q.mode().tolist() == [[1, 2]] and (p.kl(p) == 0).all() and p.distance(p) == 0
    assert p.distance(q).item() == pytest.approx(math.log(2)) and p.sharpness().item() == pytest.approx(math.log(4))


def test_a_product_is_pytorchs_joint_distribution():
    """Of all 2 x 3 x 4 combinations as one categorical: the same log probabilities, entropy and KL."""
    sizes = (2, 3, 4)
    old, new = (
        Several(torch.stack([torch.nn.functional.pad(logits(5, n, seed=s + n), (0, 4 - n), value=-math.inf) for n in sizes], 1))
        for s in (0, 10)
    )  # fmt: skip
    every = torch.cartesian_prod(*map(torch.arange, sizes))

    def joint(p):
        return Reference(logits=torch.stack([p.log_prob(a.expand(5, 3)) for a in every], -1))

    torch.testing.assert_close(joint(old).probs.sum(-1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(old.entropy(), joint(old).entropy())
    torch.testing.assert_close(old.kl(new), kl_divergence(joint(old), joint(new)))
    drawn = old.sample(torch.Generator().manual_seed(0))
    assert drawn.shape == (5, 3) and (drawn < torch.tensor(sizes)).all()


def test_gradients_of_a_product_live_and_are_finite():
    """Also through the places of actions that one of them does not have."""
    network = option("network", "categorical", actor=[8], critic=[4])(3, (2, 4, 3), torch.Generator().manual_seed(0))
    policy = network.policy(torch.randn(6, 3))
    other = Several(policy.logits.detach().roll(1, 0))
    (policy.kl(other) + other.kl(policy) + policy.entropy() + policy.log_prob(policy.mode())).sum().backward()
    *_, weight, bias = network.actor.parameters()
    assert torch.isfinite(weight.grad).all() and bias.grad.shape == (9,) and (weight.grad.abs().sum(1) > 0).all()


def test_one_choice_alone_is_the_categorical():
    build = option("network", "categorical", actor=[8], critic=[4])
    one, several = (build(3, n, torch.Generator().manual_seed(0)) for n in (4, (4,)))
    obs = torch.randn(6, 3)
    assert torch.equal(one.policy(obs).logits, several.policy(obs).logits[:, 0])
    action = one.policy(obs).mode()
    assert torch.equal(one.policy(obs).log_prob(action), several.policy(obs).log_prob(action[:, None]))
