"""One optimiser step: Adam, and the clip of the gradient's norm, against torch's own."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError

from ppo.config.options import option
from ppo.control.progress import Progress, Seen
from ppo.update.optim import Learner, adam, clip_norm, follow_kl


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("eps", [1e-8, 1e-5, 1.0])
def test_adam_equals_torchs_over_twenty_steps(eps, dtype, tolerance):
    """Gradients of 1e-6 to 1: eps = 1e-5 rules the small ones."""
    g = torch.Generator().manual_seed(0)
    gradients = torch.randn(20, 7, generator=g, dtype=dtype) * torch.logspace(-6, 0, 7, dtype=dtype)
    learner = Learner.start(torch.ones(7, dtype=dtype))
    theirs = torch.ones(7, dtype=dtype, requires_grad=True)
    optimiser = torch.optim.Adam([theirs], lr=1e-2, betas=(0.8, 0.99), eps=eps)
    for gradient in gradients:
        learner = adam(learner, gradient, torch.tensor(1e-2, dtype=dtype), beta1=0.8, beta2=0.99, eps=eps)
        theirs.grad = gradient.clone()
        optimiser.step()
    torch.testing.assert_close(learner.params, theirs.detach(), rtol=0, atol=tolerance)
    assert learner.count.item() == 20 and learner.params.dtype == dtype


def test_the_first_step_is_as_long_as_the_learning_rate():
    """Bias correction: m / sqrt(v) is the gradient's sign, so the step is lr to the digits that float32 has."""
    learner = adam(Learner.start(torch.zeros(2)), torch.tensor([3.0, -0.5]), torch.tensor(0.01), eps=1e-12)
    torch.testing.assert_close(learner.params, torch.tensor([-0.01, 0.01]), rtol=3e-5, atol=0)


@pytest.mark.parametrize("max_norm", [0.5, 5.0, 100.0, float("inf")])
def test_clip_norm_equals_torchs(max_norm):
    gradient = torch.tensor([3.0, 0.0, 4.0])
    theirs = torch.zeros(3, requires_grad=True)
    theirs.grad = gradient.clone()
    their_norm = torch.nn.utils.clip_grad_norm_([theirs], max_norm)
    ours, norm = clip_norm(gradient, torch.tensor(max_norm))
    torch.testing.assert_close(ours, theirs.grad)
    assert norm.item() == their_norm.item() == 5.0


def test_clipping_keeps_the_direction_and_bounds_the_length():
    gradient = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    clipped, _ = clip_norm(gradient, torch.tensor(0.5, dtype=torch.float64))
    assert torch.cosine_similarity(clipped, gradient, dim=0).item() == pytest.approx(1, abs=1e-12)
    assert 0.499 < clipped.norm().item() <= 0.5


def test_a_gradient_of_another_shape_is_refused():
    with pytest.raises(TypeCheckError):
        adam(Learner.start(torch.zeros(4)), torch.ones(4, 1), torch.tensor(0.01))


RULE = {"target": 0.01, "tolerance": 2.0, "factor": 1.5, "min": 1e-5, "max": 1e-2}


@pytest.mark.parametrize(
    ("lr", "kl", "expected"),
    [
        (1e-3, 0.021, 1e-3 / 1.5),
        (1e-3, 0.0049, 1.5e-3),
        (1e-3, 0.0051, 1e-3),
        (1e-3, 0.02, 1e-3),
        (1e-3, 0.0, 1e-3),
        (9e-3, 0.001, 1e-2),
        (1.2e-5, 1.0, 1e-5),
        (1e-3, math.nan, 1e-3 / 1.5),
        (1e-3, math.inf, 1e-3 / 1.5),
    ],
)
def test_the_rate_follows_the_kl_of_every_minibatch(lr, kl, expected):
    """By hand; and the rule between updates is the same."""
    got = follow_kl(torch.tensor(lr, dtype=torch.float64), torch.tensor(kl, dtype=torch.float64), **RULE).item()
    assert got == pytest.approx(expected)
    progress = Progress(last=lr, seen=Seen(kl=kl), target_kl=0.01)
    assert option("lr", "adaptive_kl_step")(progress) == pytest.approx(expected)


@pytest.mark.parametrize(("kl", "expected"), [(1e-13, 1e-3), (1e-8, 1.5e-3)])
def test_what_rounding_leaves_of_a_kl_of_nothing_does_not_raise_the_rate(kl, expected):
    """Eager and compiled programs would part at the first minibatch."""
    assert follow_kl(torch.tensor(1e-3), torch.tensor(kl), **RULE).item() == pytest.approx(expected)
