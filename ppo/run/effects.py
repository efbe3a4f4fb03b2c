"""Words that change nothing under the other words, found by asking the bound options what they read."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, cast

import torch
from omegaconf import DictConfig

from envs.device import on_device
from ppo.control.progress import Progress, Seen
from ppo.control.stop import Limits
from ppo.loss.objective import GRADIENT, NATURAL
from ppo.network.frozen import Frozen

_CLIPS = (
    (0.9, 1.1),
    (0.5, 1.5),
)  # two clip ranges; ratios from 0.4 to 1.6 with advantages of both signs tell them apart
_KLS = (
    1e-5,
    1e3,
)  # far below and far above those it is compared with, and more than ppo.control.progress.NOTHING of them


def unread(options: Mapping[str, Callable], cfg: DictConfig) -> dict[str, str]:
    """{group or key: why it changes nothing, and what would make it count}.

    options: the bound functions of kl, stop, objective, clip, penalty, outer, lr, value and env, by group. Of these nothing
    here lists what goes with what: each option is called twice, with one input changed.
    """
    target_kl, critic = cfg.target_kl, cfg.coef.value > 0
    limits = [options["stop"](target) for target in (0.01, 0.02)]
    adaptive = {group: options[group] for group in ("lr", "clip", "penalty")}
    penalised = options["penalty"](Progress(target_kl=target_kl or 0.01)) > 0
    by_kl = [group for group, choose in adaptive.items() if differs(choose, "kl")]
    by_target = [group for group, choose in adaptive.items() if differs(choose, "target_kl")]
    natural = steps_of(options["objective"]) == NATURAL
    found = {}
    if natural and min(limits[0].step, limits[0].epoch, limits[0].batch) < torch.inf:
        found["stop"] = "objective=trpo moves the policy after the minibatches, by a step that ends at target_kl itself"
    if natural and not penalised:
        found["kl"] = "objective=trpo holds the exact KL"
    elif not (penalised or by_kl or _reads_kl(limits[0])):
        found["kl"] = "no stop, penalty or adaptive option reads it; stop=minibatch target_kl=0.01 would"
    if not (by_target or natural or limits[0] != limits[1]):
        found["target_kl"] = "no stop, penalty or adaptive option reads it; stop=minibatch would"
    if not _clips(options["objective"]):
        found["clip"] = f"objective={_name(options['objective'])} has no clip range; objective=ppo would"
    found |= _idle("objective", options["objective"], _objective, within=("gate",))
    if "reference" in options:
        found |= _idle("reference", options["reference"], _pull, within=("schedule",))
    if not penalised and _name(options["penalty"]) != "none":
        found["penalty"] = "its weight is 0"
    if _name(options["outer"]) != "none" and _straight(options["outer"]):
        found["outer"] = "it ends where the minibatch steps led; outer.sigma=1.5 would go on"
    if not critic:
        found["value"] = "coef.value=0 leaves the critic out of the loss"
    if natural and not critic:
        no_step = "objective=trpo moves the policy by a step of its own, and coef.value=0 leaves no other to be taken"
        found |= dict.fromkeys(("lr", "epochs", "max_grad_norm", "adam"), no_step)
    if on_device(options["env"]):
        found["workers"] = "a world on a device is one program, which no process can share"
    return found | _switched_off(cfg)


def _switched_off(cfg: DictConfig) -> dict[str, str]:
    """Numbers of ``conf/config.yaml`` that another one of it leaves nothing to do."""
    found = {}
    if cfg.epochs == 1:
        found["recompute_advantage"] = "with epochs=1 the critic has not moved yet"
    for what in ("obs", "reward"):
        if not cfg.normalise[what]:
            found[f"normalise.clip_{what}"] = f"normalise.{what}=false has nothing clipped"
    if cfg.eval.episodes == 0:
        found |= {f"eval.{key}": "eval.episodes=0 evaluates nothing" for key in cfg.eval if key != "episodes"}
    return found


def said(words: Iterable[str], found: Mapping[str, str]) -> list[str]:
    """A line for each of the words of a command line that is among the ``found``, or an option of one."""
    lines = []
    for word in words:
        key = word.lstrip("+").partition("=")[0]
        why = found.get(key) or found.get(key.partition(".")[0])
        if why:
            lines.append(f"{word} changes nothing: {why}")
    return lines


def _function(option: Callable) -> Callable:
    return getattr(option, "func", option)


def steps_of(objective: Callable) -> str:
    """By which steps an objective moves the policy: see ``moved_by``."""
    return getattr(_function(objective), "steps", GRADIENT)


def _name(option: Callable) -> str:
    return getattr(_function(option), "__name__", str(option))


def _reads_kl(limits: Limits) -> bool:
    return limits.epoch < torch.inf or (limits.step < torch.inf and limits.metric == "kl/stop")


def differs(choose: Callable[[Progress], Any], what: str) -> bool:
    """Whether what an option chooses after an update depends on the KL that was seen, or on target_kl."""
    first = choose(Progress(target_kl=0.01))

    def after(kl: float, target_kl: float) -> Any:
        return choose(Progress(done=0.5, last=first, seen=Seen(kl=kl, clip_fraction=0.1), target_kl=target_kl))

    if what == "kl":
        return after(_KLS[0], 0.01) != after(_KLS[1], 0.01)
    return after(0.01, _KLS[0]) != after(0.01, _KLS[1])


def _idle(group: str, option: Callable, asked: Callable[[Callable], Any], *, within: Iterable[str]) -> dict[str, str]:
    """{group.key: which choice does without it}: numbers of an option that another of its choices, ``within``, may idle.

    asked: what the option gives, where they would show.
    """
    given = getattr(option, "keywords", {})
    choices = ", ".join(f"{group}.{key}={given[key]}" for key in within if key in given)
    if not choices:
        return {}
    numbers = [key for key, value in given.items() if isinstance(value, float)]
    before = asked(option)
    idle = [key for key in numbers if asked(partial(option, **{key: 2 * given[key] + 0.5})) == before]
    return {f"{group}.{key}": f"{choices} does not read it" for key in idle}


def _objective(objective: Callable, clip: tuple[float, float] = _CLIPS[0]) -> list[float]:
    ratio = torch.linspace(0.4, 1.6, 25).log().repeat(2).requires_grad_()
    advantage = torch.ones(50)
    advantage[25:] = -1
    worth = objective(ratio, advantage, *map(torch.tensor, clip))
    gradient = torch.autograd.grad(worth.sum(), ratio, allow_unused=True)[0] if worth.requires_grad else None
    return [*worth.tolist(), *([] if gradient is None else gradient.tolist())]


def _pull(reference: Callable) -> list[float]:
    """The weights that it chooses, whichever policy it pulls to."""
    anyone = Frozen(*(cast(Any, None) for _ in Frozen._fields))
    coef = reference(anyone, lambda run: anyone).coef
    after = [Progress(done=0.5, last=1.0, seen=Seen(reference_kl=kl)) for kl in torch.logspace(-5, 3, 65).tolist()]
    return [coef(progress) for progress in (Progress(), *after)]


def _straight(outer: Callable) -> bool:
    """Whether an outer step ends where the inner steps did, whatever velocity it has."""
    start, end = torch.zeros(2), torch.tensor([1.0, -2.0])
    return all(torch.equal(outer(start, end, velocity)[0], end) for velocity in (start, end))


def _clips(objective: Callable) -> bool:
    return _objective(objective, _CLIPS[0]) != _objective(objective, _CLIPS[1])
