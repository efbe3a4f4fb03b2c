"""From the chosen options to what an update minimises, and by which weights."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from omegaconf import DictConfig
from torch import Tensor

from ppo.config.options import ConfigError
from ppo.control.lr import adaptive_kl_step
from ppo.control.progress import Progress
from ppo.loss.objective import DUAL, NATURAL
from ppo.loss.reference import Reference
from ppo.loss.terms import WEIGHTED, Term, decoupled, demonstrations, penalty, projection, reference
from ppo.network.flat import Evaluate
from ppo.run.effects import steps_of
from ppo.update.duals import build_duals
from ppo.update.natural import build_natural_step, stay
from ppo.update.optim import adam, follow_kl
from ppo.update.total import Guards, Loss, build_loss

Number = Callable[[Progress], float]  # chosen anew for each update


class Minimised(NamedTuple):
    """The loss, and what belongs to how it is made small."""

    loss: Loss
    terms: tuple[Term, ...]  # those whose weights are logged
    coef: dict[str, Number]  # of the terms, by name
    lr: Number
    rate: Callable | None  # the learning rate after each minibatch, where one follows the KL from step to step
    finish: Callable  # what an update does after its gradient steps
    duals: Any  # multipliers that are learned beside the network, () where there are none


def choose_loss(
    cfg: DictConfig,
    chosen: Mapping[str, Any],
    *,
    evaluate: Evaluate,
    flat: Tensor,
    guards: Guards,
    frozen: Reference | None,
    demo: Any,
) -> Minimised:
    """By the bound options ``chosen``. frozen, demo: of reference= and demo=, None where there is none."""
    coef: dict[str, Number] = {}
    terms: list[Term] = []
    for name, loss in WEIGHTED.items():
        if cfg.coef[name] > 0:
            terms.append(Term(name, loss))
            coef[name] = partial(_always, cfg.coef[name])
    if chosen["penalty"](Progress(target_kl=cfg.target_kl)) > 0:
        terms.append(penalty(chosen["kl"]))
        coef["kl"] = chosen["penalty"]
    projected = chosen["project"]()
    if projected is not None and projected.coef > 0:
        terms.append(projection())
        coef["projection"] = partial(_always, projected.coef)
    if frozen is not None and frozen.weighs:
        terms.append(reference(frozen.divergence))
        coef["reference"] = frozen.coef
    if demo is not None:
        terms.append(demonstrations())
        coef["demo"] = demo.next_coef

    loss = Loss(
        chosen["objective"],
        chosen["kl"],
        chosen["value"],
        terms=tuple(terms),
        critic=cfg.coef.value > 0,
        project=projected and projected.project,
        noise=cfg.rpo > 0,
    )
    finish, duals = stay, ()
    steps = steps_of(chosen["objective"])
    if steps == NATURAL and loss.critic and getattr(evaluate.network, "shared", False):
        raise ConfigError(
            "objective=trpo: policy and critic of this network share parameters, so that the critic's steps would move the "
            "policy, and nothing would hold it; give each its own, or objective=ppo"
        )
    if steps == NATURAL:
        surrogate = build_loss(evaluate, loss._replace(critic=False), guards)
        finish = build_natural_step(evaluate, surrogate, cfg.target_kl, **chosen["objective"].keywords)
        loss = loss._replace(policy=False, terms=())
    if steps == DUAL:
        duals, move = build_duals(chosen["objective"].keywords, partial(adam, **cfg.adam), flat)
        loss = loss._replace(terms=(*loss.terms, *decoupled()), duals=move)
    return Minimised(loss, tuple(terms), coef, *_rate(chosen["lr"], cfg.target_kl), finish, duals)


def _rate(lr: partial, target_kl: float | None) -> tuple[Number, Callable | None]:
    """The learning rate at the start of an update, and how it goes on from there, None where it stands still."""
    if lr.func is not adaptive_kl_step:
        return lr, None
    rule = {key: x for key, x in lr.keywords.items() if key != "value"}
    return partial(_always, lr.keywords["value"]), partial(follow_kl, target=target_kl, **rule)


def _always(value: float, progress: Progress) -> float:
    return value
