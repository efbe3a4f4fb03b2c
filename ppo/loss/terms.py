"""What the loss adds to objective and critic: ``coefficient * mean(term)``, each term one function of where the network is.

A term whose coefficient is 0 from the start is not computed (0 x inf is not 0). To add one that needs no more than a
weight: a function here that ``WEIGHTED`` names, and its weight under ``coef`` in conf/config.yaml and ppo/config/schema.py.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from jaxtyping import Float
from torch import Tensor

from ppo.buffer.data import Batch
from ppo.loss.project import pull
from ppo.network.distributions import Policy


class At(NamedTuple):
    """The network at the parameters of this step, on this minibatch."""

    policy: Policy  # being trained
    projected: Policy  # the same within the bounds of project=
    batch: Batch
    log_ratio: Float[Tensor, " M"]  # log new(a) - log old(a), clamped
    evaluate: Callable  # ``evaluate(inputs) -> (policy, prediction)`` elsewhere, at the same parameters


class Term(NamedTuple):
    """``loss(at) -> [M]``, and what it is called: of its coefficient, of its mean, and of its weight in the metrics."""

    name: str
    loss: Callable[[At], Tensor]
    metric: str = ""  # by default loss/NAME
    weight: str = ""  # by default coef/NAME
    share: str = ""  # where given, the length of its gradient over that of the rest's is logged under this name

    @property
    def logged(self) -> str:
        return self.metric or f"loss/{self.name}"

    @property
    def logged_weight(self) -> str:
        return self.weight or f"coef/{self.name}"


def entropy(at: At) -> Float[Tensor, " M"]:
    """-H(new): a coefficient above 0 keeps the policy random [nats]."""
    return -at.policy.entropy()


WEIGHTED = {"entropy": entropy}  # those that ``coef`` alone switches on, by the name of their weight


def penalty(kl: Callable) -> Term:
    """The chosen estimator of KL(old || new) [nats], weighted by penalty=."""
    return Term("kl", lambda at: kl(at.batch.policy, at.policy, at.log_ratio), weight="penalty/beta")


def reference(divergence: Callable[[Policy, Policy], Tensor]) -> Term:
    """The exact divergence from the frozen policy of reference= [nats]."""
    return Term(
        "reference", lambda at: divergence(at.policy, cast(Policy, at.batch.reference)), weight="reference/coef"
    )


def projection() -> Term:
    """How far the policy is outside the bounds of project= [nats]."""
    return Term("projection", lambda at: pull(at.policy, at.projected))


KL_OF_MEANS, KL_OF_DEVIATIONS = "kl_mean", "kl_deviation"


def decoupled() -> tuple[Term, Term]:
    """KL(old || new) of the means alone, at the old deviation, and of the deviations alone, at the old mean [nats]."""

    def means(at: At) -> Tensor:
        old: Any = at.batch.policy
        return old.kl_parts(cast(Any, at.policy)._replace(log_std=old.log_std))[0].sum(-1)

    def deviations(at: At) -> Tensor:
        old: Any = at.batch.policy
        return old.kl_parts(cast(Any, at.policy)._replace(mean=old.mean))[1].sum(-1)

    return Term(KL_OF_MEANS, means), Term(KL_OF_DEVIATIONS, deviations)


def demonstrations() -> Term:
    """-log new(a | s) of one demonstrated pair a sample [nats]."""

    def cloning(at: At) -> Tensor:
        imitator, _ = at.evaluate(at.batch.demo)
        return -imitator.log_prob(at.batch.demo.action)

    return Term("demo", cloning, metric="bc/loss", weight="bc/coef", share="bc/ppo_ratio")
