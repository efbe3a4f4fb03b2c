"""The typed scalars of a run and their defaults; Hydra refuses what does not fit. Groups are typed by their functions."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore


@dataclass
class Coef:
    """Weights of the loss terms beside the policy objective. A term of weight 0 is not computed."""

    value: float = 0.5
    entropy: float = 0.0


@dataclass
class Adam:
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-5


@dataclass
class Normalise:
    """Running normalisation of observations and rewards, and where the results are clipped."""

    obs: bool = True
    reward: bool = True
    clip_obs: float = 10.0
    clip_reward: float = 10.0


@dataclass
class Guard:
    """Bounds on the log-ratio; see ppo.update.step.Guards. ``first_log_ratio``: largest |log ratio| accepted
    at the first minibatch, where old and new policy are the same and only rounding is left."""

    clamp: float = 10.0
    warn: float = 5.0
    extreme_high: float = 100.0
    extreme_low: float = 0.01
    first_log_ratio: float = 1e-3


@dataclass
class Eval:
    """Evaluation in environments of its own, statistics frozen."""

    every: int = 50_000  # environment steps; 0: only at the end
    episodes: int = 10  # of each evaluation; 0: no evaluation at all
    seed: int = 1_000_000  # the same start states for every run, so that arms are compared on the same ground
    stochastic: bool = False  # sampled actions, as in training, instead of the most likely ones
    max_steps: int = 100_000  # an episode that is longer has no end: this evaluation is given up


@dataclass
class Checkpoint:
    every: int = 0  # environment steps between numbered checkpoints; 0: only latest and best


@dataclass
class Doctor:
    """The KL doctor while the run trains; ``thresholds``: {check: {name: number}}, see ppo.doctor.diagnose."""

    live: bool = True
    thresholds: dict[str, Any] = field(default_factory=dict)


@dataclass
class Config:
    """Typed scalars of a run; groups are untyped here and typed by their functions."""

    total_steps: int = 500_000  # environment steps
    num_envs: int = 16
    num_steps: int = 512  # vector steps in a rollout
    workers: int | str = "auto"  # processes that step environments beside this one; auto: measured
    epochs: int = 20
    minibatch_size: int = 128
    micro_batches: int = 1  # parts of a minibatch whose gradients are accumulated, to save memory
    gamma: float = 0.99
    gae_lambda: float = 0.9
    rpo: float = 0.0  # half-width of uniform noise on the policy's mean in the objective; 0: none
    recompute_advantage: bool = False  # at the start of every epoch, by the critic as it then is
    target_kl: float | None = None
    max_grad_norm: float | None = 0.5
    init: str | None = None  # a run folder or checkpoint whose policy, critic and observation statistics to start from
    seed: int = 1
    device: str = "cpu"
    threads: int | str = 1  # torch's; more than one slows small networks down; auto: measured
    compile: str = "auto"
    trust: list[str] = field(default_factory=list)  # packages, beside ours, whose functions a yaml may name
    resume: str | None = None  # the folder of a run to go on with, under its own configuration
    on_nonfinite: str = "stop"  # what a number that is not finite does: stop the run, skip or roll back the update
    rank_timeout: float = 600.0  # s that a rank waits for another (torchrun) before it gives up
    exact_resume: bool = True  # refuse to go on where the environments do not come back exactly
    coef: Coef = field(default_factory=Coef)
    adam: Adam = field(default_factory=Adam)
    normalise: Normalise = field(default_factory=Normalise)
    guard: Guard = field(default_factory=Guard)
    eval: Eval = field(default_factory=Eval)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    doctor: Doctor = field(default_factory=Doctor)
    plots: bool = False  # a window that follows the run, and run.png in its folder
    env: Any = None
    action: Any = None
    network: Any = None
    kl: Any = None
    stop: Any = None
    objective: Any = None
    clip: Any = None
    penalty: Any = None
    norm: Any = None
    lr: Any = None
    value: Any = None
    reference: Any = None
    demo: Any = None
    logger: Any = None


ConfigStore.instance().store(name="schema", node=Config)
