"""From a rollout ``[T, N, ...]`` to samples to learn from: values, advantages and targets."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ppo.buffer.data import Batch, Pairs, Transition, chunk_length, in_chunks, in_pieces, in_time, tree_map
from ppo.buffer.gae import gae
from ppo.network.distributions import Policy
from ppo.network.flat import Evaluate, Following, Inputs
from ppo.network.frozen import Frozen
from ppo.network.memory import Memory
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
    reference: Frozen | None = None
    demo: Callable[[ObsNormaliser, tuple[int, ...]], Pairs] | None = None

    @torch.no_grad()
    def __call__(
        self,
        rollout: Transition,
        params: Float[Tensor, " P"],
        normalise: ObsNormaliser,
        scale: Callable[[Tensor], Tensor],
        recalled: Memory = (),
    ) -> Batch:
        """The rollout as samples ``[T * N, ...]`` in the order of ``in_pieces``: observations normalised, rewards scaled,
        values computed once.

        The behaviour policy is evaluated again, by the network that learns: rounding apart it is the one that acted (the
        run checks that), and the first ratio is 1 exactly. What needs no change (actions, groups) stays the rollout's own
        memory: a batch is used up before the next rollout is collected. ``recalled``: what the reference remembers where
        the rollout starts.
        """
        pieces, inputs = partial(in_pieces, chunk=self.evaluate.network.chunk), self._inputs(rollout, normalise)
        policy, mask = in_chunks(lambda part: self.evaluate.policy(params, part), inputs), mask_of(rollout)
        value, advantage, target = tree_map(pieces, self.appraise(rollout, inputs, params, normalise, scale))
        return tree_map(
            lambda x: x.flatten(0, 1),
            Batch(
                obs=inputs.obs,
                action=pieces(rollout.action),
                policy=policy,
                value=value,
                target=target,
                advantage=advantage,
                group=pieces(rollout.group),
                mask=torch.ones_like(pieces(rollout.done)) if mask is None else pieces(mask),
                noise=value[..., None][..., :0],
                reference=tree_map(pieces, self._reference(rollout, recalled)),
                demo=() if self.demo is None else self.demo(normalise, tuple(rollout.reward.shape)),
                memory=inputs.memory,
                first=inputs.first,
            ),
        )

    def _inputs(self, rollout: Transition, normalise: ObsNormaliser) -> Inputs:
        """What the network sees of a rollout, in pieces."""
        pieces = partial(in_pieces, chunk=self.evaluate.network.chunk)
        inputs = Inputs(normalise(pieces(rollout.obs)))
        if self.evaluate.network.memory_size:  # the memory of the first row is 0 where an episode began there
            began = torch.cat([torch.zeros_like(rollout.done[:1]), rollout.done[:-1]])
            inputs = inputs._replace(memory=pieces(cast(Tensor, rollout.memory)), first=pieces(began))
        return inputs

    def recall(self, rollout: Transition, recalled: Memory) -> Memory:
        """What the reference remembers after the rollout."""
        return () if self.reference is None else self.reference.remember(rollout.obs, rollout.done, recalled)

    def _reference(self, rollout: Transition, recalled: Memory) -> Policy | tuple[()]:
        if self.reference is None:
            return ()
        if self.reference.network.memory_size:
            return self.reference.along(rollout.obs, rollout.done, recalled)
        return in_chunks(self.reference, rollout.obs)

    def refresh(
        self, rollout: Transition, normalise: ObsNormaliser, scale: Callable[[Tensor], Tensor]
    ) -> Callable[[Tensor, Batch], Batch]:
        """``refresh(params, batch)``: advantages and targets as the critic at ``params`` sees them; all else as it was.

        Of the rollout that ``batch`` was prepared from, whose masked samples the batch no longer has: the step before one
        ends with the value of what was seen there. Andrychowicz et al. 2021.
        """
        inputs = self._inputs(rollout, normalise)

        @torch.no_grad()
        def refresh(params: Tensor, batch: Batch) -> Batch:
            pieces = partial(in_pieces, chunk=self.evaluate.network.chunk)
            _, advantage, target = tree_map(pieces, self.appraise(rollout, inputs, params, normalise, scale))
            return batch._replace(advantage=advantage.flatten(0, 1), target=target.flatten(0, 1))

        return refresh

    def appraise(
        self,
        rollout: Transition,
        inputs: Inputs,
        params: Float[Tensor, " P"],
        normalise: ObsNormaliser,
        scale: Callable[[Tensor], Tensor],
    ) -> Appraisal:
        """Values, advantages and targets; ``inputs`` are the rollout's, normalised and in pieces."""
        chunk = self.evaluate.network.chunk
        value = in_time(in_chunks(lambda part: self.evaluate.value(params, part), inputs), chunk)

        following = Following(rollout.next_obs)
        if self.evaluate.network.memory_size:
            following = Following(rollout.next_obs, rollout.obs, rollout.memory)

        def predict(part: Following) -> Tensor:
            seen = part._replace(next_obs=normalise(part.next_obs), obs=tree_map(normalise, part.obs))
            return self.evaluate.value_after(params, seen)

        next_value = successors(predict, value, following, rollout.done)
        reward = scale(rollout.reward)
        advantage = gae(
            reward, value, next_value, rollout.terminated, rollout.done, self.gamma, self.lam, mask_of(rollout)
        )
        return Appraisal(value, advantage, advantage + value)


def mask_of(rollout: Transition) -> Tensor | None:
    """[T, N] bool, where the world masks."""
    return rollout.mask if isinstance(rollout.mask, Tensor) else None


def successors(
    predict: Callable[[Following], Tensor],
    value: Float[Tensor, "T N"],
    following: Following,
    done: Bool[Tensor, "T N"],
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
        return torch.where(unknown, in_chunks(predict, following), known)
    (rows,) = unknown.flatten().nonzero(as_tuple=True)
    chunk = chunk_length(value) * value.shape[1]
    filled = torch.cat([rows, rows.new_zeros(-len(rows) % chunk)])
    asked = tree_map(lambda x: x.flatten(0, 1)[filled], following)
    known.view(-1)[rows] = in_chunks(predict, asked, rows=chunk)[: len(rows)]
    return known
