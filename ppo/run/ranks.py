"""Ranks: several processes that train one policy, ``torchrun --nproc_per_node=2 -m ppo.train``.

Each rank steps its own part of the sub-environments. Then all of them learn of the whole rollout, and each takes the same
update of it with the same random numbers. So the ranks' parameters, optimisers and statistics are copies of one another,
which is checked in every iteration, and any number of ranks is one rank with all the rows. Averaging gradients instead
would cost a message a step: through gloo 0.3 ms at best, more than the compiled step of a small network takes.

In a process that is alone nothing here does anything.
"""

import hashlib
import json
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from envs.base import EnvError, NoState, NotFinite, WorkerLost
from ppo.buffer.data import Transition, leaves
from ppo.network.memory import Memory
from ppo.run.signals import Interrupted

_rank, _size = 0, 1
_FAILURES = {kind.__name__: kind for kind in (EnvError, NoState, NotFinite, WorkerLost)}


class RankLost(RuntimeError):
    """Another rank ended, hangs, or computes something else. One line."""


@contextmanager
def joined(patience: float) -> Generator[None]:
    """Meanwhile, be one of the ranks that torchrun started, if it did. Whoever waits longer than ``patience`` seconds for
    another raises RankLost."""
    global _rank, _size
    if started() == 1:
        yield
        return
    from torch import distributed

    try:
        distributed.init_process_group("gloo", timeout=timedelta(seconds=patience))
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise RankLost(f"cannot join the other ranks at {where} ({str(error).splitlines()[0]})") from error
    _rank, _size = distributed.get_rank(), distributed.get_world_size()
    try:
        yield
        _leave()
    except Interrupted:
        _leave()
        raise
    finally:
        _rank, _size = 0, 1
        distributed.destroy_process_group()


def _leave() -> None:
    """Wait for the others: one that closes its connections early may spoil what another has yet to read, and torchrun ends
    those that are left. Nobody waits for anything else any more, so that what goes wrong here harms nothing."""
    with suppress(RankLost):
        gather(None)


def started() -> int:
    """How many ranks there are to be, joined or not."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    return _rank


def size() -> int:
    return _size


def first() -> bool:
    """Whether this is the rank that evaluates, writes and speaks."""
    return _rank == 0


def on_this_machine() -> int:
    """How many ranks share its cores."""
    return 1 if _size == 1 else int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def own(num_envs: int, rank: int | None = None) -> slice:
    """Which of the sub-environments a rank steps; by default this one."""
    each, mine = num_envs // _size, _rank if rank is None else rank
    return slice(each * mine, each * (mine + 1))


def gather(item: Any) -> list[Any]:
    """What every rank has here, something that JSON can hold, in the order of the ranks."""
    if _size == 1:
        return [item]
    text = torch.frombuffer(bytearray(json.dumps(item).encode()), dtype=torch.uint8)
    lengths = [int(length) for length in _all(torch.tensor([len(text)]))]
    padded = torch.nn.functional.pad(text, (0, max(lengths) - len(text)))
    texts = zip(_all(padded), lengths, strict=True)
    return [json.loads(bytes(row[:length].numpy())) for row, length in texts]


def agreed(function: Callable, *arguments: Any) -> Any:
    """What ``function`` gives here; or, where the world failed on any rank, that EnvError on all of them.

    Its whole traceback is the first rank's to keep: it has the folder of the run.
    """
    if _size == 1:
        return function(*arguments)
    result, failure = None, None
    try:
        result = function(*arguments)
    except EnvError as error:
        failure = {"kind": type(error).__name__, "line": str(error), "traceback": error.traceback}
    for number, told in enumerate(gather(failure)):
        if told:
            failed = _FAILURES.get(told["kind"], EnvError)(f"rank {number}: {told['line']}")
            failed.traceback = told["traceback"] if first() else ""
            raise failed
    return result


def share(rollout: Transition, memory: Memory, episodes: list, params: Tensor) -> list:
    """Put the other ranks' columns into ``rollout [T, N, ...]`` and ``memory [N, M]``; returns the episodes of all.

    Raises RankLost where the ranks' parameters ``[P]`` are not the same to the bit: then their rollouts are not of one policy.
    """
    if _size == 1:
        return episodes
    digest = hashlib.sha256(params.cpu().numpy().tobytes()).hexdigest()
    told = gather([digest, episodes])
    if any(theirs != digest for theirs, _ in told):
        raise RankLost(
            f"rank {_rank} of {_size} has other parameters than the others: different machines or libraries?"
        )
    parts = [*leaves(rollout), *(x[None] for x in leaves(memory))]
    num_envs = rollout.reward.shape[1]
    columns = [x[:, own(num_envs)].contiguous().view(torch.uint8).flatten() for x in parts]
    for number, packed in enumerate(_all(torch.cat(columns))):
        for leaf, column in zip(parts, packed.split([len(x) for x in columns]), strict=True):
            theirs = leaf[:, own(num_envs, number)]
            theirs.copy_(column.clone().view(leaf.dtype).view(theirs.shape))
    return [tuple(episode) for _, theirs in told for episode in theirs]


def _all(mine: Tensor) -> list[Tensor]:
    """Every rank's tensor, of the same shape."""
    from torch import distributed

    found = [torch.empty_like(mine) for _ in range(_size)]
    try:
        distributed.all_gather(found, mine)
    except RuntimeError as error:
        raise RankLost(f"rank {_rank} of {_size} waits for another that ended or hangs") from error
    return found
