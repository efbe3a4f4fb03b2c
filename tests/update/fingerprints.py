"""A program for a process of its own, where shape checks are off: prints the fingerprints of steps as JSON.

python tests/update/fingerprints.py
"""

import json
import sys
from functools import partial
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from ppo.config.options import option
from ppo.loss import kl
from ppo.loss.terms import Term, demonstrations, entropy, penalty, reference
from ppo.network.flat import Evaluate, build_evaluate, flatten
from ppo.network.frozen import Frozen
from ppo.network.normaliser import ObsNormaliser
from ppo.run.assemble import assemble
from ppo.update.fingerprint import fingerprint
from ppo.update.optim import adam
from ppo.update.step import build_step
from ppo.update.total import Guards, Loss

ROOT = Path(__file__).parents[2]


def network_of(*, seed: int = 0, **options) -> Evaluate:
    build = option("network", "mlp", **{"actor": [8], "critic": [8]} | options)
    network = build(3, 2, torch.Generator().manual_seed(seed))
    flatten(network)
    return build_evaluate(network)


def step_of(*, evaluate: Evaluate | None = None, guards: Guards | None = None, optimiser=adam, watch="kl/stop",
            micro_batches=1, **loss) -> str:  # fmt: skip
    """The fingerprint of a step: PPO, exact KL, Huber's loss, and what is changed."""
    plain = Loss(option("objective", "ppo"), kl.exact, option("value", "huber", delta=1.0))._replace(**loss)
    network, bounds = evaluate or network_of(), guards or Guards()
    step = build_step(network, plain, bounds, watch=watch, micro_batches=micro_batches, optimiser=optimiser)
    return fingerprint(step.take)


def pull(towards: str) -> Term:
    frozen = Frozen(network_of().network, ObsNormaliser.identity())
    return reference(option("reference", "initial", kl=towards)(frozen, lambda run: frozen).divergence)


def changes() -> dict[str, dict]:
    """Each makes another program."""
    bonus = Term("entropy", entropy)
    return {
        "nothing": {},
        "an option of the objective": {"objective": option("objective", "ppo", dual=3.0)},
        "another objective": {"objective": option("objective", "truly")},
        "an option of the value loss": {"value": option("value", "huber", delta=2.0)},
        "another estimator": {"kl": kl.k3},
        "no critic": {"critic": False},
        "no policy": {"policy": False},
        "noise": {"noise": True},
        "a term": {"terms": (bonus,)},
        "a penalty": {"terms": (penalty(kl.exact),)},
        "another penalty": {"terms": (penalty(kl.k3),)},
        "two terms": {"terms": (bonus, penalty(kl.exact))},
        "two terms the other way": {"terms": (penalty(kl.exact), bonus)},
        "a pull": {"terms": (pull("reverse"),)},
        "a pull from the other side": {"terms": (pull("exact"),)},
        "demonstrations": {"terms": (demonstrations(),)},
        "a guard": {"guards": Guards(clamp=9.0)},
        "what is watched": {"watch": "clip/fraction"},
        "micro-batches": {"micro_batches": 2},
        "an option of the optimiser": {"optimiser": partial(adam, eps=1e-3)},
        "the ceiling of sigma": {"evaluate": network_of(log_std_max=1.0)},
        "the activation": {"evaluate": network_of(activation="relu")},
        "the width": {"evaluate": network_of(actor=[9])},
        "another head": {"evaluate": network_of(squash=True)},
    }


def run_of(*words: str) -> str:
    small = ("env=probe", "logger=none", "compile=false", "workers=0", "num_envs=4", "num_steps=32", "total_steps=256")
    small += ("minibatch_size=32", "network.actor=[16]", "network.critic=[16]")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        parts = assemble(compose("config", [*small, *words]))
    parts.envs.close()
    return fingerprint(parts.update.step.take)


NUMBERS = ("seed=2", "lr.value=1e-2", "clip=linear", "stop=epoch target_kl=1", "coef.value=0.1", "norm=ema", "epochs=1")
CHOICES = (
    "kl=k3",
    "value=clipped",
    "coef.value=0",
    "penalty=fixed",
    "coef.entropy=1",
    "guard.clamp=9",
    "adam.eps=1e-3",
)
CHOICES += ("micro_batches=2", "network.log_std_max=1", "network.activation=relu", "reference=initial", "stop=ratio")

if __name__ == "__main__":
    made = [{name: step_of(**change) for name, change in changes().items()} for _ in range(2)]
    answer = {
        "steps": made[0],
        "steps again": made[1],
        "other weights": step_of(evaluate=network_of(seed=1)),
        "run": run_of(),
        "runs of other numbers": {words: run_of(*words.split()) for words in NUMBERS},
        "runs of other choices": {word: run_of(word) for word in CHOICES},
    }
    json.dump(answer, sys.stdout)
