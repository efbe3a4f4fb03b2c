"""The metric contract: every name a run may log, with its unit and meaning.

Names are stable: dashboards, comparisons and tests read them. A name that is not in ``METRICS`` is refused by ``check``.
Four marks in a name stand for one metric each: ``<d>`` for an action dimension (``policy/sigma/0``, ``policy/sigma/1``
...), ``<kl>`` for an estimator of the divergence, ``<term>`` for a term of the loss that has no metrics of its own here,
``<name>`` for whatever a simulator calls it.
``python -m ppo.logging.metrics`` writes the table to ``docs/metrics.md``.
"""

import difflib
import re
from collections.abc import Iterable, Set
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ppo.logging.files import write_atomically


class Metric(NamedTuple):
    """One row of the table."""

    unit: str  # "nat", "s", "step", "fraction" ...; empty for a pure number
    text: str  # what it is, with its formula and the set it is taken over
    when: str = "always"  # in which rows of a run it is present


_FINISHED = "an episode finished in this rollout"
_EVAL = "updates with an evaluation"
_STEPPED = "at least one step was executed"
_STOPPED = "the update was stopped"
_MATCHED = "match_kl is set"
_GAUSSIAN = "actions are continuous"
_PULLED = "reference= has a weight above 0"
_NOT_TRPO = "objective= is not trpo"
_MEAN = "mean over the minibatches of executed steps, each measured before its step"
_FULL = "after the update, mean over the whole rollout"

METRICS: dict[str, Metric] = {
    # Where the run is.
    "update": Metric("", "number of this update, from 1"),
    "env_steps": Metric("step", "environment steps collected so far, all sub-environments and ranks; the x axis"),
    # Time and speed.
    "time/wall": Metric("s", "wall-clock time since training began; a resumed run continues to count"),
    "time/rollout": Metric("s", "collecting this rollout"),
    "time/update": Metric("s", "this update: critic over the rollout, advantages, gradient steps"),
    "time/eval": Metric("s", "evaluation", _EVAL),
    "speed/total": Metric("step/s", "environment steps of this update over time/rollout + time/update"),
    "speed/rollout": Metric("step/s", "environment steps of this update over time/rollout"),
    "speed/update": Metric("step/s", "environment steps of this update over time/update"),
    # Returns.
    "train/return": Metric("reward", "undiscounted, unscaled return; mean over finished episodes", _FINISHED),
    "train/length": Metric("step", "episode length; mean over finished episodes", _FINISHED),
    "train/episodes": Metric("count", "episodes finished in this rollout", _FINISHED),
    "eval/return": Metric("reward", "return of deterministic episodes, statistics frozen; mean", _EVAL),
    "eval/stochastic": Metric(
        "", "1: the episodes above were played with sampled actions (eval.stochastic=true)", _EVAL
    ),
    "eval/std": Metric("reward", "standard deviation of those returns over episodes (n - 1; 0 for one episode)", _EVAL),
    "eval/length": Metric("step", "length of those episodes; mean", _EVAL),
    "eval/episodes": Metric("count", "how many episodes were evaluated", _EVAL),
    "eval/best": Metric("reward", "highest eval/return so far", _EVAL),
    # Divergence between the policy that acted (old) and the one being trained (new), r = log new(a) - log old(a).
    "kl/<kl>": Metric("nat", f"the divergence as the estimator <kl> measures it; {_MEAN}", _STEPPED),
    "kl/error_<kl>": Metric("nat", "kl/<kl> - kl/exact, of the sampled estimators", _STEPPED),
    "kl/chosen": Metric("nat", f"the estimator named by kl=, which lr=adaptive_kl reads; {_FULL}"),
    "kl/final": Metric("nat", f"exact KL(old‖new), {_FULL}"),
    "kl/overshoot": Metric("", "kl/final / target_kl - 1", "target_kl is set"),
    "kl/final_reverse": Metric("nat", f"exact KL(new‖old), {_FULL}"),
    "kl/mean_part": Metric("nat", "share of kl/final due to moved means; mean_part + sigma_part = kl/final", _GAUSSIAN),
    "kl/sigma_part": Metric("nat", "share of kl/final due to changed deviations", _GAUSSIAN),
    "kl/mean_part/<d>": Metric("nat", "share of kl/mean_part due to action dimension d; they add up", _GAUSSIAN),
    "kl/sigma_part/<d>": Metric("nat", "share of kl/sigma_part due to action dimension d; they add up", _GAUSSIAN),
    # The path of the KL within the update, for questions asked later: where would another limit have stopped it? Lists.
    "trace/<kl>": Metric(
        "nat",
        "list of [step, kl/<kl>]: each minibatch whose KL exceeded all before it, before its step (counted from 1); the "
        "refused one is among them",
    ),
    "trace/epoch/<kl>": Metric("nat", "list: kl/<kl> of each epoch done, mean over its minibatches"),
    "trace/first": Metric("nat", "list: kl/exact of the first minibatch of each epoch begun"),
    "trace/after": Metric("nat", "list: kl/final as it was after each epoch, undone ones too", "stop=rollback"),
    # Distance to the frozen policy of reference=.
    "reference/kl": Metric("nat", f"the divergence of the reference term, exact; {_FULL}", "reference= is not none"),
    "reference/kl_held_out": Metric(
        "nat",
        "the same on states that the reference visited and nothing is learned from",
        "reference.held_out is not 0",
    ),
    "loss/reference": Metric("nat", f"the divergence of the reference term; {_MEAN}", f"{_PULLED}, and {_NOT_TRPO}"),
    "coef/entropy": Metric("", "weight of loss/entropy in the loss of this update", "coef.entropy is not 0"),
    "reference/coef": Metric("", "weight of that divergence in the loss of this update", _PULLED),
    # Demonstrations.
    "bc/loss": Metric("nat", f"-log pi(action|obs) of the demonstrated pairs; {_MEAN}", "demo= is not none"),
    "bc/coef": Metric("", "weight of bc/loss in the loss of this update", "demo= is not none"),
    "bc/ppo_ratio": Metric(
        "",
        "length of the gradient of bc/coef x bc/loss over that of the rest; above 2 a line warns",
        "demo= is not none",
    ),
    # What must hold before the first step of every update.
    "check/first_kl": Metric("nat", "largest |KL| of the family at the first minibatch: 0 but for rounding"),
    "check/acting": Metric(
        "sigma", "largest difference of a mean or log sigma that acted from the one learned from; must be 0 (1e-5)"
    ),
    "check/rounding": Metric(
        "sigma", "what float32's rounding of a parameter may come to in check/acting and check/first_log_ratio"
    ),
    "check/first_log_ratio": Metric(
        "nat", "max |r| at the first minibatch: 0 but for rounding; above guard.first_log_ratio the run fails"
    ),
    # The trust region at work.
    "ratio/min": Metric("", "lowest probability ratio in any executed step", _STEPPED),
    "ratio/max": Metric("", "highest probability ratio in any executed step", _STEPPED),
    "ratio/ess": Metric("fraction", "effective sample size (Σ ratio)² / (n Σ ratio²); mean over minibatches", _STEPPED),
    "ratio/deviation": Metric("", f"|ratio - 1|; {_MEAN}", _STEPPED),
    "clip/fraction": Metric("fraction", f"samples whose ratio lies outside the clip range; {_MEAN}", _STEPPED),
    "clip/low": Metric("", "lower bound of the ratio; 0: there is none"),
    "clip/high": Metric("", "upper bound of the ratio; infinite: there is none"),
    "penalty/beta": Metric("", "weight of the KL penalty in this update", "a penalty is chosen"),
    "vmpo/eta": Metric("", f"temperature of the better half's weights; {_MEAN}", "objective=vmpo"),
    "outer/step": Metric("fraction", "of the outer step that the limit of stop= left; 1: all of it", "outer=step"),
    "match/target": Metric("nat", "what match_kl= asks for", _MATCHED),
    "match/reached": Metric(
        "nat", "kl/final, mean over all updates so far; from the sixth on, without the first five", _MATCHED
    ),
    "match/knob": Metric("", "the first width of the method in this update: clip.eps, objective.alpha ...", _MATCHED),
    "match/at_bound": Metric("", "1: it is at its bound, so that the target may be out of reach", _MATCHED),
    "trpo/step": Metric("fraction", "of the full natural step; 0: none was better within the KL", "objective=trpo"),
    # The policy.
    "policy/entropy": Metric(
        "nat", f"entropy: of a Gaussian, of tanh(action) with network.squash, or of discrete actions; {_MEAN}", _STEPPED
    ),
    "policy/sigma": Metric(
        "action", "standard deviation after the update; mean over dimensions and samples", _GAUSSIAN
    ),
    "policy/sigma_min": Metric("action", "the least of policy/sigma/<d>", _GAUSSIAN),
    "policy/sigma_max": Metric("action", "the largest of policy/sigma/<d>", _GAUSSIAN),
    "policy/sigma/<d>": Metric("action", "standard deviation of action dimension d after the update", _GAUSSIAN),
    # Losses and the critic.
    "loss/total": Metric("", f"what is minimised: policy + coefficient x each other term; {_MEAN}", _STEPPED),
    "loss/policy": Metric("", f"the objective's loss; {_MEAN}", _STEPPED),
    "loss/value": Metric("", f"value loss before its coefficient; {_MEAN}", _STEPPED),
    "loss/entropy": Metric(
        "nat", f"minus the entropy, before its coefficient; {_MEAN}", f"coef.entropy is not 0, and {_NOT_TRPO}"
    ),
    "loss/kl": Metric(
        "nat", f"the penalty's KL before its coefficient; {_MEAN}", f"a penalty is chosen, and {_NOT_TRPO}"
    ),
    "loss/<term>": Metric(
        "", f"the term of the loss before its coefficient; {_MEAN}", f"the term is in the loss, and {_STEPPED}"
    ),
    "coef/<term>": Metric("", "weight of loss/<term> in the loss of this update", "it is in the loss"),
    "value/explained_variance": Metric(
        "", "1 - Var(target - value) / Var(target) over the rollout, before the update; 1 is perfect, <= 0 is useless"
    ),
    "value/mean": Metric("scaled reward", "mean value over the rollout, before the update"),
    "value/beyond": Metric(
        "fraction",
        "values beyond max |r| / (1 - gamma), which no return can reach, r the scaled rewards of the run so far",
        "a reward was not 0 so far",
    ),
    "target/mean": Metric("scaled reward", "mean value target over the rollout"),
    "target/std": Metric("scaled reward", "standard deviation of the value target over the rollout"),
    "grad/norm": Metric("", f"norm of the gradient before clipping; {_MEAN}", _STEPPED),
    "grad/clipped": Metric("fraction", "executed steps whose gradient was clipped", _STEPPED),
    "lr": Metric("", "learning rate of this update; with lr=adaptive_kl_step, of its last step"),
    # Advantages, before and through the normaliser.
    "advantage/mean": Metric("scaled reward", "mean over the rollout, before normalisation"),
    "advantage/std": Metric("scaled reward", "standard deviation over the rollout, before normalisation"),
    "advantage/max_abs": Metric("scaled reward", "largest magnitude, before normalisation"),
    "advantage/scale": Metric(
        "scaled reward", "running range; advantages are divided by it, at least by norm.floor", "norm=ema"
    ),
    "advantage/sign_flip": Metric("fraction", "samples whose sign the normaliser changed"),
    "advantage/zeroed": Metric(
        "fraction", "unmasked samples that the normaliser set to 0, as their set (group, minibatch) has no spread"
    ),
    # How the update went.
    "update/epochs": Metric("count", "epochs done and kept; a part of one counts as a fraction"),
    "update/steps": Metric("count", "gradient steps executed and kept"),
    "update/planned": Metric("count", "gradient steps of a full update: epochs x minibatches"),
    "update/stop": Metric("text", "why it ended: none, minibatch, epoch, rollback, ratio or nonfinite"),
    "stop/value": Metric("nat", "the KL that stopped it; for stop=ratio mean |ratio - 1|", _STOPPED),
    "stop/limit": Metric("nat", "the limit that was exceeded: stop.factor x target_kl, or stop.limit", _STOPPED),
    "stop/epoch": Metric("", "epoch it stopped in, from 1", _STOPPED),
    "stop/nonfinite": Metric(
        "text", "the numbers of the refused step that were not finite", "update/stop is nonfinite"
    ),
    "stop/minibatch": Metric("", "minibatch of that epoch it stopped at, from 1", _STOPPED),
    # Numerical guards: counts of samples, summed over executed steps.
    "guard/clamped": Metric("count", "|r| beyond the clamp (10): clamped before exp", _STEPPED),
    "guard/warned": Metric("count", "|r| beyond the warning (5)", _STEPPED),
    "guard/extreme": Metric("count", "ratio above 100 or below 0.01", _STEPPED),
    "guard/nonfinite": Metric("count", "samples whose r is NaN or infinite; a refused step's are counted too"),
    # The doctor, as it was while the run trained; see docs/doctor.md.
    "doctor/band": Metric(
        "", "band of kl/final in its phase of training: 0 healthy, 1 fine, ... 4 critical", "doctor.live"
    ),
    "doctor/findings": Metric("count", "causes found so far", "doctor.live"),
    # Statistics of the world.
    "reward/scale": Metric("reward", "standard deviation by which rewards are divided; 1 when they are not"),
    "reward/clipped": Metric("fraction", "scaled rewards at +-normalise.clip_reward, over the rollout"),
    "obs/clipped": Metric("fraction", "entries of the normalised observations at the clip, over the rollout"),
    "obs/rounded": Metric(
        "fraction",
        "columns of the observation whose deviation is below the resolution of their mean: float32's, or float64's of a space "
        "of float64 that is normalised",
    ),
    "env/nonfinite": Metric(
        "count",
        "samples of this rollout in which a world gave a number that is not finite: masked, so that nothing is learned of them",
        "a world on a device, env.on_nonfinite=mask",
    ),
    "world/<name>": Metric(
        "",
        "what the simulator says of itself (extras['log']), as it names it; mean over the steps that gave it",
        "it says it",
    ),
    "action/clipped": Metric(
        "fraction",
        "entries of the actions that action=clip cut at the bounds, over the rollout",
        "actions are continuous, and action=clip",
    ),
}

_CONF = Path(__file__).parents[2] / "conf" / "kl"
_DIMENSION = re.compile(r"/(0|[1-9]\d*)$")
_ESTIMATOR = re.compile(r"(?:kl/error_|kl/|trace/epoch/|trace/)(\w+)$")
_WORLD = re.compile(r"world/[^<\s]+$")
_TERM = re.compile(r"(loss|coef)/([a-z]\w*)$")


@cache
def estimators() -> dict[str, str]:
    """What ``<kl>`` stands for, each with the comment of its yaml: the options of the group kl, ``exact`` first."""
    found = sorted(_CONF.glob("*.yaml"), key=lambda path: (path.stem != "exact", path.stem))
    return {path.stem: path.read_text(encoding="utf-8").split("\n")[0].lstrip("# ") for path in found}


def declared(name: str, row: Set[str] = frozenset()) -> bool:
    """Whether ``name``, in a row with the names ``row``, is in the contract.

    ``kl/mean_part/2`` is declared by ``kl/mean_part/<d>`` and ``kl/k3`` by ``kl/<kl>``, since conf/kl has a k3. An
    estimator of a person's own package is known by its path, ``trace/NAME`` and ``trace/epoch/NAME``; a term of the loss
    by its pair: ``loss/smooth`` needs ``coef/smooth`` beside it, and the latter stands alone only where no step was
    executed, so that there is no loss.
    """
    if name in METRICS:
        return "<" not in name
    if _DIMENSION.sub("/<d>", name) in METRICS or _WORLD.match(name):
        return True
    estimator = _ESTIMATOR.match(name)
    if estimator and (estimator[1] in estimators() or {f"trace/{estimator[1]}", f"trace/epoch/{estimator[1]}"} <= row):
        return True
    term = _TERM.match(name)
    if not term:
        return False
    other = f"coef/{term[2]}" if term[1] == "loss" else f"loss/{term[2]}"
    return other in row or (term[1] == "coef" and name in row and "loss/total" not in row)


def check(names: Iterable[str]) -> None:
    """Raise ValueError on the first of a row's ``names`` that is not in the contract, with the nearest one that is."""
    names = list(names)
    row = set(names)
    for name in names:
        if not declared(name, row):
            near = difflib.get_close_matches(name, _known(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"metric {name!r} is not declared in ppo/logging/metrics.py{hint}")


def _known() -> list[str]:
    """Every name, an estimator's written out."""
    return [name.replace("<kl>", kl) for name in METRICS for kl in (estimators() if "<kl>" in name else [""])]


def about(name: str) -> Metric | None:
    """What the contract says of ``name``; None where it says nothing of it alone (a term of a person's own)."""
    estimator = _ESTIMATOR.match(name)
    general = name.removesuffix(estimator[1]) + "<kl>" if estimator else name
    return METRICS.get(name) or METRICS.get(_DIMENSION.sub("/<d>", name)) or METRICS.get(general)


def table() -> str:
    """The contract as a markdown table."""
    lines = ["| name | unit | meaning | present |", "|---|---|---|---|"]
    for name, metric in METRICS.items():
        text = metric.text.replace("|", "\\|")  # |r| is not a column
        lines.append(f"| `{name}` | {metric.unit or '1'} | {text} | {metric.when} |")
    return "\n".join(lines)


def document() -> str:
    """The whole text of ``docs/metrics.md``."""
    return f"""# Metrics

Generated by `python -m ppo.logging.metrics`; do not edit. One row of `metrics.jsonl` holds these for one update.
`trace/...` are lists and go to no dashboard.
*old* is the policy that acted, *new* the one being trained, r = log new(a) - log old(a). `<d>` is an action dimension,
`<kl>` an estimator (below), `<term>` a further term of the loss, `<name>` a simulator's own.
A number that is not finite is written as the text `"NaN"`, `"Infinity"` or `"-Infinity"`.

{table()}

The estimators `<kl>`, as `kl=` names them; their formulas are in `ppo/loss/kl.py`:

{chr(10).join(f"- `{name}`: {text}" for name, text in estimators().items())}
"""


if __name__ == "__main__":
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    write_atomically(page, document())
    print(f"wrote {page}")
