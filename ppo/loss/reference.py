"""A pull towards a policy that stays as it is. Each option is one function ``(start, read) -> Reference | None``.

start: the policy that the run starts with. read: the policy of a run folder or checkpoint file, by its path; either
comes as a ``Frozen``, with the observation statistics it was trained with.
The loss is ``... + coef * KL``, in closed form and at the states of the rollout. Annealed beats constant (Schmitt et al. 2018,
"Kickstarting").
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge, Gt
from torch import Tensor

from ppo.control.progress import Progress, moved, side
from ppo.network.distributions import Policy
from ppo.network.frozen import Frozen
from ppo.network.shared import takes


class Reference(NamedTuple):
    policy: Frozen
    divergence: Callable[[Policy, Policy], Tensor]  # (policy, reference) -> [*B] nats
    coef: Callable[[Progress], float]  # the weight of the next update
    weighs: bool  # false: its weight is 0 throughout, so that it is only measured
    held_out: int  # states to measure on that nothing is learned from


def none(start: Frozen, read: Callable[[str], Frozen]) -> None:
    """Free to leave."""
    return


def pull(
    policy: Frozen,
    *,
    coef: Annotated[float, Ge(0)],
    schedule: Literal["constant", "linear", "adaptive"],
    end: Annotated[float, Ge(0)],
    target: Annotated[float, Gt(0)],
    kl: Literal["exact", "reverse"],
    held_out: Annotated[int, Ge(0)],
) -> Reference:
    """A pull towards ``policy``.

    schedule: constant; linear, from ``coef`` to ``end`` over the run; adaptive, starting at ``coef``: once an update
    doubled where the KL is above 1.5 ``target`` and halved below ``target`` / 1.5, within [1e-5, 100].
    kl: as kl= calls them, the reference being the old policy: exact, KL(reference || policy), Kickstarting's own, which
    keeps all that the reference does; or reverse, KL(policy || reference), which keeps to what it does.
    held_out: states, visited by the reference in environments of its own, on which the KL is measured as well.
    """
    schedules = {
        "constant": lambda progress: coef,
        "linear": lambda progress: coef + (end - coef) * progress.done,
        "adaptive": partial(_adaptive, coef, target),
    }
    weighs = coef > 0 or schedule == "adaptive" or (schedule == "linear" and end > 0)
    return Reference(policy, _KL[kl], schedules[schedule], weighs, held_out)


@takes(pull=pull)
def initial(start: Frozen, read: Callable[[str], Frozen], *, pull: Callable[[Frozen], Reference]) -> Reference:
    """The policy that the run starts with: with ``init=RUN``, the pretrained one. The options are those of ``pull``."""
    return pull(start)


@takes(pull=pull)
def checkpoint(
    start: Frozen, read: Callable[[str], Frozen], *, pull: Callable[[Frozen], Reference], run: str
) -> Reference:
    """The policy of ``run``, a run folder or checkpoint file. The other options are those of ``pull``.

    Raises ValueError where ``run`` is empty.
    """
    if not run:
        raise ValueError("run: give a run folder or a checkpoint file")
    return pull(read(run))


_KL = {
    "exact": lambda policy, reference: reference.kl(policy),
    "reverse": lambda policy, reference: policy.kl(reference),
}


def _adaptive(coef: float, target: float, progress: Progress) -> float:
    if progress.last is None or progress.seen.reference_kl is None:
        return coef
    return moved(progress.last, 2.0, side(progress.seen.reference_kl, target, 1.5), 1e-5, 100.0)
