"""Policies by a configuration: built anew, or with the parameters and statistics of a checkpoint."""

import copy
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from omegaconf import DictConfig
from torch import Tensor, nn

from envs.base import VectorEnv
from envs.fault import RAISED, closing, raised
from ppo.buffer.collect import collect
from ppo.buffer.data import tree_map
from ppo.buffer.minibatches import allocate
from ppo.buffer.rewards import RewardScale
from ppo.config.foreign import foreign, package_of
from ppo.config.options import ConfigError, plain, strategy
from ppo.loss.reference import Reference
from ppo.network import own
from ppo.network.actor_critic import ActorCritic, ObsSize, widen
from ppo.network.categorical import ActionSize, categorical
from ppo.network.columns import Columns, choose
from ppo.network.flat import constants, flatten
from ppo.network.frozen import Frozen
from ppo.network.normaliser import Moments, ObsNormaliser
from ppo.run import checkpoint
from ppo.run.artifact import located
from ppo.run.state import Kept


def torch_device(name: str) -> torch.device:
    """The device of that name, or ConfigError where this machine has none."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # read back: "meta" holds no numbers
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={name}: not available here ({str(error).splitlines()[0]})") from error
    return device


def build_network(
    option: Callable, envs: VectorEnv, generator: torch.Generator, *, observe: DictConfig, quantiles: int = 1
) -> ActorCritic:
    """The network that fits these environments; its critic is as wide as its loss asks.

    ``observe``: the columns of the observation that actor and critic see, see ``columns.choose``; where it says nothing, those
    that the world has for them, or all. Raises ConfigError.
    """
    size = envs.observation_space.shape[0]
    seen = {role: _columns(observe, role, size, envs) for role in ("actor", "critic")}
    actions = _fitting(option, envs)
    try:
        sees, knows = (len(columns) if columns else size for columns in seen.values())
        inputs = sees if sees == knows else (sees, knows)
        if _ours(option):
            network = option(inputs, actions, generator)
        else:
            network = _seeded(option, inputs, actions, generator)
            if not isinstance(network, ActorCritic):
                network = own.Own(network, (sees, knows), envs.action_space)
        for role, columns in seen.items():
            if columns:
                getattr(network, role).insert(0, Columns(columns))
        widen(network, quantiles)
    except ConfigError:
        raise
    except (ValueError, MemoryError, OverflowError) as error:  # no memory for a network so large
        raise ConfigError(f"network: {' '.join(str(error).split())}") from error
    except RAISED as error:
        if not _ours(option):
            theirs = raised("network: its code", _beyond_ours(error))
            raise ConfigError(str(theirs)) from theirs
        if isinstance(error, RuntimeError):
            raise ConfigError(f"network: {' '.join(str(error).split())}") from error
        raise
    return network


def _beyond_ours(error: BaseException) -> BaseException:
    """Its traceback from where a network's code was asked, so that the place that is told is one of that code."""
    theirs = trace = error.__traceback__
    while trace and trace.tb_next:
        asked = trace.tb_frame.f_code.co_filename in (__file__, own.__file__)
        trace, theirs = trace.tb_next, trace.tb_next if asked else theirs
    return error.with_traceback(theirs)


def _fitting(option: Callable, envs: VectorEnv) -> ActionSize:
    """How large an action is that the network is to choose; ConfigError for one of ours that chooses another kind."""
    space, continuous = envs.action_space, isinstance(envs.action_space, Box)
    if _ours(option) and continuous == (getattr(option, "func", option) is categorical):
        kind, fitting = ("continuous", "mlp") if continuous else ("discrete", "categorical")
        raise ConfigError(f"network: {envs.name} has {kind} actions, which need another one, such as network={fitting}")
    if isinstance(space, MultiDiscrete):
        return tuple(int(n) for n in space.nvec)
    return int(space.n) if isinstance(space, Discrete) else space.shape[0]


def _ours(option: Callable) -> bool:
    """Whether a network is one of this package, which has more than ``policy`` and ``value``."""
    return getattr(option, "func", option).__module__.startswith("ppo.")


def _seeded(option: Callable, size: ObsSize, actions: ActionSize, generator: torch.Generator) -> nn.Module:
    """The network; what its layers draw from torch's own generator is decided by ``generator`` all the same."""
    seed = int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return option(size, actions, generator)


def _columns(observe: DictConfig, role: str, size: int, envs: VectorEnv) -> list[int] | None:
    wanted = envs.roles.get(role) if observe[role] is None else observe[role]
    try:
        return choose(wanted, size, envs.columns)
    except ValueError as error:
        raise ConfigError(f"observe.{role}={error}") from error


def obs_normaliser(moments: Moments, space: Box, *, on: bool, clip: float) -> ObsNormaliser:
    """What the networks see of an observation of ``space``, with these statistics."""
    if not on:
        return ObsNormaliser.identity(moments.mean.device)
    return ObsNormaliser.of(moments, torch.finfo(torch.from_numpy(space.low).dtype).eps, clip=clip)


def saved_policy(cfg: DictConfig, tensors: dict[str, Tensor] | None, envs: VectorEnv, device: torch.device) -> Frozen:
    """The policy that the ``tensors`` of a checkpoint hold, trained as ``cfg`` says; with None as it was before training, and
    nothing seen. Raises CheckpointError, ConfigError."""
    option = strategy("network", cfg.network, cfg.trust)
    quantiles = cfg.value.get("quantiles", 1)
    # By the seed that it was trained with: a network of a user's own may have drawn more than its parameters.
    drawn = torch.Generator().manual_seed(cfg.seed)
    network = build_network(option, envs, drawn, observe=cfg.observe, quantiles=quantiles).to(device)
    moments = Moments.empty(*envs.observation_space.shape, device=device)
    if tensors is not None:
        _fill(network, flatten(network), tensors)
        moments = checkpoint.from_leaves(moments, tensors, "obs_moments")
    normalise = obs_normaliser(moments, envs.observation_space, on=cfg.normalise.obs, clip=cfg.normalise.clip_obs)
    return Frozen(network, normalise)


def _fill(network: ActorCritic, flat: Tensor, tensors: dict[str, Tensor]) -> None:
    """Give the network the parameters (``flat``) and constants of a checkpoint. Raises CheckpointError."""
    flat.copy_(checkpoint.from_leaves(flat, tensors, "learner.params"))
    held = constants(network)
    tree_map(Tensor.copy_, held, checkpoint.from_leaves(held, tensors, "constants"))


def restore(
    cfg: DictConfig, network: ActorCritic, flat: Tensor, moments: Moments, scale: RewardScale
) -> tuple[Moments, RewardScale]:
    """Write the parameters of ``cfg.init`` into ``flat``, which are those of ``network``, and its constants; returns its
    observation statistics, and ``scale`` with its statistics of the rewards, in whose unit its critic predicts. Episodes begin
    anew.

    Raises ConfigError where it does not fit.
    """
    try:
        tensors, meta = checkpoint.load(checkpoint.find(located(cfg.init)))
        _fill(network, flat, tensors)
        moments = checkpoint.from_leaves(moments, tensors, "obs_moments")
        scale = scale._replace(moments=checkpoint.from_leaves(scale.moments, tensors, "reward_scale.moments"))
    except checkpoint.CheckpointError as error:
        raise ConfigError(f"init={cfg.init}: {error}") from error
    theirs, ours = plain(foreign(meta.get("config"), trusted(cfg), Path(cfg.init))), plain(cfg)
    of_one_size = ("_target_", "activation", "std_type", "actor", "critic", "hidden")  # it may be, with another meaning
    of_network = (("network", key) for key in of_one_size)
    of_seen = (("observe", "actor"), ("observe", "critic"), ("normalise", "obs"), ("action", "_target_"))
    for group, key in (*of_network, *of_seen):
        if theirs[group].get(key) != ours[group].get(key):
            raise ConfigError(f"init={cfg.init}: was trained with {group}.{key}={theirs[group].get(key)}")
    if outside := _outside(network):
        least, most = (f"network.{key}={theirs['network'].get(key)}" for key in ("log_std_min", "log_std_max"))
        raise ConfigError(
            f"init={cfg.init}: {outside}, where the first step would throw it; with {least} {most} it stays"
        )
    if theirs["normalise"]["reward"] != ours["normalise"]["reward"]:
        what = f"was trained with normalise.reward={str(theirs['normalise']['reward']).lower()}"
        print(f"init={cfg.init}: {what}: its critic predicts returns of another scale", file=sys.stderr, flush=True)
    return moments, scale


def _outside(network: ActorCritic) -> str | None:
    """The first parameter that lies outside of the bounds that the network names for it, in words."""
    for name, bounds in network.bounds().items():
        values = network.get_parameter(name)
        low, high = values.new_tensor(bounds)  # as the step has them
        for value, beyond, bound in ((values.min(), "below", low), (values.max(), "above", high)):
            if (value < bound) if beyond == "below" else (value > bound):
                return f"{name} reaches {value.item():.3g}, {beyond} {bound.item():.3g}"
    return None


def trusted(cfg: DictConfig) -> list[str]:
    """Packages that a file may name: those of ``trust``, and that of the environment, which the command line names too."""
    package = package_of(cfg)
    return list(cfg.trust) if package is None else [*cfg.trust, package]


def choose_reference(
    cfg: DictConfig,
    option: Callable,
    network: ActorCritic,
    normalise: ObsNormaliser,
    envs: VectorEnv,
    kept: Kept,
) -> tuple[Reference | None, str | None]:
    """(the reference policy, frozen: the network as it is now, or one that is read; the configuration of a run that it was
    read from, as JSON). A run that resumes has what it ``kept`` of it: the run that it was read from may have gone on, or be
    gone."""
    said = kept.config

    def read(run: str) -> Frozen:
        nonlocal said
        try:
            tensors = None
            if said is None:
                tensors, meta = checkpoint.load(checkpoint.find(located(run)))
                said = json.dumps(meta.get("config"))
            theirs = foreign(json.loads(said), trusted(cfg), Path(run))
            if theirs.action._target_ != cfg.action._target_:  # what a policy's numbers mean
                raise ConfigError(
                    f"reference.run={run}: was trained with action={theirs.action._target_.rpartition('.')[2]}"
                )
            return saved_policy(theirs, tensors, envs, normalise.mean.device)
        except checkpoint.CheckpointError as error:
            raise ConfigError(f"reference.run={run}: {error}") from error

    try:
        chosen = option(Frozen(copy.deepcopy(network), normalise), read)
        if chosen and kept.tensors:
            held = chosen.policy.tensors()
            tree_map(Tensor.copy_, held, checkpoint.from_leaves(held, kept.tensors))
        return chosen, said
    except checkpoint.CheckpointError as error:
        raise ConfigError(f"reference: is of another shape than the one that this run began with: {error}") from error
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"reference.{error}") from error


class HeldOut(NamedTuple):
    """A rollout of which nothing is learned; the first ``count`` of its T N samples are asked for."""

    obs: Tensor  # [T, N, O] as the environment gave it
    done: Tensor  # [T, N] bool
    count: int


def held_out(
    reference: Reference | None, to_world: Callable, make: Callable[[int], VectorEnv], *, seed: int
) -> HeldOut | None:
    """States that the reference policy visits in environments of its own, from which nothing is learned."""
    if reference is None or reference.held_out == 0:
        return None
    network, normalise = reference.policy
    with closing(make(min(4, reference.held_out))) as envs:
        rows = math.ceil(reference.held_out / envs.num_envs)
        rollout = allocate(rows, envs.num_envs, envs.observation_space, network, envs.device, envs.masks)
        first, memory = envs.reset(seed), network.empty_memory(envs.num_envs, envs.device)
        collect(envs, network, normalise, to_world, first, memory, rollout, torch.Generator().manual_seed(seed))
    device = normalise.mean.device
    return HeldOut(rollout.obs.to(device), rollout.done.to(device), reference.held_out)
