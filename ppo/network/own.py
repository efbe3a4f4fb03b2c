"""A network of a user's own: any module with two methods, ``policy`` and ``value``."""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from jaxtyping import Float
from torch import Tensor, nn

from ppo.network.actor_critic import ActorCritic, Head
from ppo.network.distributions import Categorical, Gaussian, Policy, Several


class Own(ActorCritic):
    """``net``, a module with

        policy(obs [*B, O]) -> Gaussian(mean [*B, A], log_std [*B, A]), Categorical(logits [*B, n])
                               or Several(logits [*B, K, n])
        value(obs [*B, O]) -> [*B]

    ``*B``: one axis or several. Both are functions of their input and the parameters; buffers, and parameters that ask for no
    gradient, are constants. ValueError where it has not both, gives what does not fit ``space``, or does not give the same
    when it is asked twice.
    ``sizes``: O of each; the two differ where ``observe`` says so.
    """

    def __init__(self, net: Any, sizes: tuple[int, int], space: Box | Discrete | MultiDiscrete):
        if not (isinstance(net, nn.Module) and callable(getattr(net, "policy", None))) or not hasattr(net, "value"):
            raise ValueError(f"{type(net).__name__}: needed is a torch.nn.Module with policy(obs) and value(obs)")
        _keep_frozen(net)
        if not any(True for _ in net.parameters()):
            raise ValueError(f"{type(net).__name__}: has no parameters to train")
        super().__init__(nn.Sequential(_Method(net.policy)), nn.Sequential(_Method(net.value, of_critic=True)))
        self.net, self.continuous = net, isinstance(space, Box)
        self.shape = _shape(space)  # of the numbers that the noise of one action has
        for rows in ((2,), (3, 2)):
            _try(net, rows, sizes, space)
        self.shared = _shared(net, sizes)  # whether a step of the critic moves the policy

    def policy(self, obs: Float[Tensor, "*B O"], *memory: Tensor) -> Policy:
        return cast(Policy, self.actor(obs))

    def noise(self, steps: int, rows: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Normal for a Gaussian; else Gumbel, as for ``CategoricalActor``."""
        draws = torch.empty(steps, rows, *self.shape)
        if self.continuous:
            return draws.normal_(generator=generator).to(self.device).unbind()
        return (-draws.exponential_(generator=generator).log()).to(self.device).unbind()

    def sample(self, obs: Float[Tensor, "N O"], noise: Tensor, *memory: Tensor) -> tuple[Tensor, Policy]:
        policy = self.policy(obs)
        if isinstance(policy, Gaussian):
            return policy.mean + policy.log_std.exp() * noise, policy
        return (cast(Categorical, policy).logits + noise).argmax(-1), policy

    def numpy_head(self) -> Head:
        raise NotImplementedError("acting calls the module: its layers are not known")


class _Method(nn.Module):
    """A method of a module as a layer. The module is no part of it: it stands once in the network."""

    def __init__(self, method: Callable[[Tensor], Any], *, of_critic: bool = False):
        super().__init__()
        self.method, self.of_critic = method, of_critic

    def forward(self, obs: Tensor) -> Any:
        given = self.method(obs)
        return given[..., None] if self.of_critic else given


def _keep_frozen(net: nn.Module) -> None:
    """Make buffers of the parameters that ask for no gradient: all that is left as a parameter is trained."""
    for module in net.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if not parameter.requires_grad:
                delattr(module, name)
                module.register_buffer(name, parameter.detach())


def _shape(space: Box | Discrete | MultiDiscrete) -> tuple[int, ...]:
    if isinstance(space, Box):
        return space.shape
    return (int(space.n),) if isinstance(space, Discrete) else (len(space.nvec), int(max(space.nvec)))


def _try(net: Any, rows: tuple[int, ...], sizes: tuple[int, int], space: Box | Discrete | MultiDiscrete) -> None:
    """What it gives of zeros is what is needed; ValueError says what is not."""
    seen, known = (torch.zeros(*rows, size) for size in sizes)
    before = {name: x.clone() for name, x in net.named_buffers()}
    with torch.no_grad():
        (policy, value), again = ((net.policy(seen), net.value(known)) for _ in range(2))
    kind = Gaussian if isinstance(space, Box) else Categorical if isinstance(space, Discrete) else Several
    for what, obs, given, wanted, shape in (
        ("policy", seen, policy, kind, (*rows, *_shape(space))),
        ("value", known, value, Tensor, rows),
    ):
        if not isinstance(given, wanted):
            where = f" for actions of {space}" if what == "policy" else ""
            raise ValueError(f"{what}(obs) gives {type(given).__name__}; needed is {wanted.__name__}{where}")
        for x in (given,) if isinstance(given, Tensor) else given:
            if x.shape != shape:
                same = (
                    "; a log_std that is the same in every state: log_std.expand_as(mean)" if wanted is Gaussian else ""
                )
                raise ValueError(f"{what}(obs {[*obs.shape]}) gives {[*x.shape]}; needed is {[*shape]}{same}")
    for name, buffer in net.named_buffers():
        if not _equal(before[name], buffer):
            raise ValueError(f"{name} changes when the network is called, as statistics do in training mode")
    for what, one, other in (("policy", policy, again[0]), ("value", [value], [again[1]])):
        if not all(map(_equal, one, other)):
            raise ValueError(
                f"{what}(obs) gives something else when it is called again, as with dropout in training mode"
            )
    if isinstance(space, MultiDiscrete):
        beyond = torch.arange(int(max(space.nvec))) >= torch.tensor(space.nvec)[:, None]
        if (policy.logits[..., beyond] > -math.inf).any():
            raise ValueError(f"policy(obs): logits of actions that {space} does not have must be -inf")


def _shared(net: Any, sizes: tuple[int, int]) -> bool:
    """Whether a parameter is one of the policy and of the critic."""
    with torch.enable_grad():
        policy, value = net.policy(torch.zeros(2, sizes[0])), net.value(torch.zeros(2, sizes[1]))
        sums = [sum(x.sum() for x in policy), value.sum()]
    if not all(x.requires_grad for x in sums):
        return False
    of_policy, of_value = (torch.autograd.grad(x, [*net.parameters()], allow_unused=True) for x in sums)
    return any(a is not None and b is not None for a, b in zip(of_policy, of_value, strict=True))


def _equal(x: Tensor, y: Tensor) -> bool:
    return torch.allclose(x, y, rtol=0, atol=0, equal_nan=True)
