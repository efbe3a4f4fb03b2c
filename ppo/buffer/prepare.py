"""From a rollout ``[T, N, ...]`` to samples to learn from: values, advantages and targets."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ppo.buffer.data import Batch, Pairs, Transition, chunk_length, in_chunks, tree_map
from ppo.buffer.gae import gae
from ppo.network.distributions import Policy
from ppo.network.flat import Evaluate, Inputs
from ppo.network.normaliser import ObsNormaliser


class Appraisal(NamedTuple):
    """What the critic makes of a rollout, ``[T, N]`` each."""

    value: Tensor
    advantage: Tensor
    target: Tensor


class Prepare(NamedTuple):
    """What makes batches of rollouts; built once, where a run is put together.

    reference: the frozen policy, which sees the observations as they are. demo: draws as many demonstrated pairs.
    """

    evaluate: Evaluate
    gamma: float
    lam: float
    reference: Callable[[Tensor], Policy] | None = None
    demo: Callable[[ObsNormaliser, tuple[int, ...]], Pairs] | None = None

    @torch.no_grad()
    def __call__(
        self,
        rollout: Transition,
        params: Float[Tensor, " P"],
        normalise: ObsNormaliser,
        scale: Callable[[Tensor], Tensor],
    ) -> Batch:
        """The rollout as samples ``[T * N, ...]``: observations normalised, rewards scaled, values computed once.

        The behaviour policy is evaluated again, by the network that learns: rounding apart it is the one that acted (the
        run checks that), and the first ratio is 1 exactly. What needs no change (actions, groups) stays the rollout's own
        memory: a batch is used up before the next rollout is collected.
        """
        obs = normalise(rollout.obs)
        policy = in_chunks(lambda part: self.evaluate.policy(params, part), Inputs(obs))
        value, advantage, target = self.appraise(rollout, obs, params, normalise, scale)
        return tree_map(
            lambda x: x.flatten(0, 1),
            Batch(
                obs=obs,
                action=rollout.action,
                policy=policy,
                value=value,
                target=target,
                advantage=advantage,
                group=rollout.group,
                mask=torch.ones_like(rollout.done),
                noise=value[..., None][..., :0],
                reference=() if self.reference is None else in_chunks(self.reference, rollout.obs),
                demo=() if self.demo is None else self.demo(normalise, tuple(rollout.reward.shape)),
            ),
        )

    def refresh(
        self, rollout: Transition, normalise: ObsNormaliser, scale: Callable[[Tensor], Tensor]
    ) -> Callable[[Tensor, Batch], Batch]:
        """``refresh(params, batch)``: advantages and targets as the critic at ``params`` sees them; all else as it was.

        Of the rollout that ``batch`` was prepared from. Andrychowicz et al. 2021.
        """

        @torch.no_grad()
        def refresh(params: Tensor, batch: Batch) -> Batch:
            obs = batch.obs.view(*rollout.reward.shape, *batch.obs.shape[1:])
            _, advantage, target = self.appraise(rollout, obs, params, normalise, scale)
            return batch._replace(advantage=advantage.flatten(0, 1), target=target.flatten(0, 1))

        return refresh

    def appraise(
        self,
        rollout: Transition,
        obs: Float[Tensor, "T N O"],
        params: Float[Tensor, " P"],
        normalise: ObsNormaliser,
        scale: Callable[[Tensor], Tensor],
    ) -> Appraisal:
        """Values, advantages and targets; ``obs`` are the rollout's, normalised."""

        def predict(part: Inputs) -> Tensor:
            return self.evaluate.value(params, part)

        value = in_chunks(predict, Inputs(obs))
        next_value = successors(predict, value, rollout.next_obs, rollout.done, normalise)
        reward = scale(rollout.reward)
        advantage = gae(reward, value, next_value, rollout.terminated, rollout.done, self.gamma, self.lam)
        return Appraisal(value, advantage, advantage + value)


def successors(
    predict: Callable[[Inputs], Tensor],
    value: Float[Tensor, "T N"],
    next_obs: Float[Tensor, "T N O"],
    done: Bool[Tensor, "T N"],
    normalise: ObsNormaliser,
) -> Float[Tensor, "T N"]:
    """V of the true successor of every step, so that truncation needs no special case.

    That is the value of the next row, which is known, except where an episode ended and after the last row: only those
    states are asked for. (On a device all of them are: counting them would have to wait for it.) They are filled up to
    chunks as long as those of the rows before, since how a product rounds depends on how many rows it has.
    """
    unknown = done.clone()
    unknown[-1] = True
    known = torch.cat([value[1:], value[-1:]])
    if value.device.type != "cpu":
        return torch.where(unknown, in_chunks(predict, Inputs(normalise(next_obs))), known)
    (rows,) = unknown.flatten().nonzero(as_tuple=True)
    chunk = chunk_length(value) * value.shape[1]
    filled = torch.cat([rows, rows.new_zeros(-len(rows) % chunk)])
    asked = normalise(next_obs.flatten(0, 1)[filled])
    known.view(-1)[rows] = in_chunks(predict, Inputs(asked), rows=chunk)[: len(rows)]
    return known
