"""How the running episodes of a share began and the actions since, from which any process can play them again."""

from collections import deque
from collections.abc import Sequence

import numpy as np

from envs.base import NoState
from envs.generator import encoded

LONGEST = 10_000  # actions kept of a running episode: what is saved, and the time to replay it, must not grow for ever


class History:
    """Of ``count`` sub-environments that step together."""

    def __init__(self, count: int):
        self._start: list[dict] = [{}] * count  # how the running episode began; "lost": why that is not known
        self._since = [0] * count  # the step at which it began
        self._steps = 0  # steps since the restart
        self._log: deque[np.ndarray] = deque(maxlen=LONGEST)  # [n, A] actions of the last steps, as far as needed

    def restart(self, pasts: Sequence[np.ndarray] = ()) -> None:
        """Forget everything; ``pasts``, actions [t, A] a sub-environment, are what has happened since episodes began."""
        self._log.clear()
        self._steps = max(map(len, pasts), default=0)
        if self._steps:
            log = np.zeros((self._steps, len(pasts), *pasts[0].shape[1:]), pasts[0].dtype)
            for i, past in enumerate(pasts):
                log[self._steps - len(past) :, i] = past
            self._log.extend(log)

    def begin(self, i: int, start: dict, *, ago: int = 0) -> None:
        """The episode of ``i`` that runs now began ``ago`` steps before, from ``start``."""
        self._start[i], self._since[i] = start, self._steps - ago

    def add(self, actions: np.ndarray) -> None:
        """A step with ``actions [n, A]``."""
        self._log.append(actions.copy())
        self._steps += 1

    def trim(self) -> None:
        """Forget what no running episode needs."""
        for _ in range(len(self._log) - (self._steps - min(self._since))):
            self._log.popleft()

    def actions(self, like: np.ndarray) -> list[np.ndarray]:
        """Since each running episode began: [t, A] a sub-environment; ``like``: actions [n, A] of a step."""
        log = np.array(self._log) if self._log else np.zeros((0, *like.shape), like.dtype)
        return [log[len(log) - (self._steps - since) :, i] for i, since in enumerate(self._since)]

    def beginning(self, i: int) -> dict:
        """How the running episode of ``i`` began, as JSON can hold it; NoState, without a name, where it cannot be replayed."""
        if self._steps - self._since[i] > len(self._log):  # said alike however long it is: it is said once
            raise NoState(
                f"its episode cannot be saved, as it is longer than the {LONGEST:,} steps whose actions are kept; a "
                "time limit would end it (env=gym: env.kwargs.max_episode_steps=1000)"
            )
        if "lost" in self._start[i]:
            raise NoState(f"its episodes cannot be saved: {self._start[i]['lost']}")
        try:
            return encoded(self._start[i])
        except TypeError as error:
            raise NoState(f"its episodes cannot be saved: {error} is in the state of its np_random") from error
