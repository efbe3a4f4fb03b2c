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

    ``*B``: one axis or several. ValueError where it has not both, or gives what does not fit ``space``.
    ``sizes``: O of each; the two differ where ``observe`` says so.
    """

    def __init__(self, net: Any, sizes: tuple[int, int], space: Box | Discrete | MultiDiscrete):
        if not (isinstance(net, nn.Module) and callable(getattr(net, "policy", None))) or not hasattr(net, "value"):
            raise ValueError(f"{type(net).__name__}: needed is a torch.nn.Module with policy(obs) and value(obs)")
        if not any(True for _ in net.parameters()):
            raise ValueError(f"{type(net).__name__}: has no parameters, so there is nothing to train")
        super().__init__(nn.Sequential(_Method(net.policy)), nn.Sequential(_Method(net.value, of_critic=True)))
        self.net, self.continuous = net, isinstance(space, Box)
        self.shape = _shape(space)  # of the numbers that the noise of one action has
        for rows in ((2,), (3, 2)):
            _try(net, rows, sizes, space)

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


def _shape(space: Box | Discrete | MultiDiscrete) -> tuple[int, ...]:
    if isinstance(space, Box):
        return space.shape
    return (int(space.n),) if isinstance(space, Discrete) else (len(space.nvec), int(max(space.nvec)))


def _try(net: Any, rows: tuple[int, ...], sizes: tuple[int, int], space: Box | Discrete | MultiDiscrete) -> None:
    """What it gives of zeros is what is needed; ValueError says what is not."""
    seen, known = (torch.zeros(*rows, size) for size in sizes)
    with torch.no_grad():
        policy, value = net.policy(seen), net.value(known)
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
    if isinstance(space, MultiDiscrete):
        beyond = torch.arange(int(max(space.nvec))) >= torch.tensor(space.nvec)[:, None]
        if (policy.logits[..., beyond] > -math.inf).any():
            raise ValueError(f"policy(obs): logits of actions that {space} does not have must be -inf")
