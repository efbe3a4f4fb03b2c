"""A simulator of many worlds with rsl_rl's interface whose every answer is known, for the tests."""

import random
from types import SimpleNamespace

import numpy as np
import torch


class Clocks:
    """World i observes (i, its clock) as ``policy`` and (its clock, 10 i) as ``critic``; reward: i + clock / 10.

    Even worlds run out of time after ``length`` steps; odd ones end for good one step earlier. Reset in the same step, and
    with no last observation unless ``final``.
    """

    def __init__(self, num_envs, device="cpu", length=4, final=False, time_outs=True):
        self.num_envs, self.num_actions, self.device, self.cfg = num_envs, 2, torch.device(device), {}
        self.max_episode_length, self.episode_length_buf = length, torch.zeros(num_envs, dtype=torch.long)
        self.final, self.time_outs, self.looks, self.actions = final, time_outs, 0, []
        self.index = torch.arange(num_envs)

    def groups(self):
        clock = self.episode_length_buf.float()
        return {"policy": torch.stack([self.index, clock], 1), "critic": torch.stack([clock, 10.0 * self.index], 1)}

    def get_observations(self):
        self.looks += 1
        return self.groups()

    def step(self, actions):
        self.actions.append(actions.clone())
        actions.zero_()  # it may do with them as it likes
        self.episode_length_buf += 1
        out = (self.index % 2 == 0) & (self.episode_length_buf >= self.max_episode_length)
        dead = (self.index % 2 == 1) & (self.episode_length_buf >= self.max_episode_length - 1)
        reward = self.index + self.episode_length_buf / 10
        extras = {"log": {"/clock": self.episode_length_buf.float(), "two": 2.0}}
        extras |= {"time_outs": out} if self.time_outs else {}
        extras |= {"final_obs": self.groups()} if self.final else {}
        self.episode_length_buf[out | dead] = 0
        return self.groups(), reward, (out | dead).long(), extras


class Breaking(Clocks):
    """World 2 breaks in its second step: its observation (``what="obs"``) until it is reset, or the reward of that step."""

    def __init__(self, num_envs, device, what, **told):
        super().__init__(num_envs, device, **told)
        self.what, self.steps, self.lost = what, 0, torch.zeros(num_envs, dtype=torch.bool)

    def groups(self):
        spoilt = torch.where(self.lost[:, None], torch.nan, 0.0)
        return {name: x + spoilt for name, x in super().groups().items()}

    def step(self, actions):
        self.steps += 1
        if self.steps == 2:
            self.lost[2] = self.what == "obs"
        groups, reward, dones, extras = super().step(actions)
        if self.steps == 2:
            reward = torch.where(self.index == 2, torch.inf, reward)
        self.lost &= dones == 0
        return self.groups(), reward, dones, extras


class Clockless:
    """``Breaking`` that shows no more than it must: not its clock."""

    def __init__(self, *args, **told):
        sim = Breaking(*args, **told)
        self.num_envs, self.num_actions, self.device = sim.num_envs, sim.num_actions, sim.device
        self.get_observations, self.step = sim.get_observations, sim.step


class Still(Clocks):
    """Gives numbers of any device, none of which is looked at."""

    def __init__(self, num_envs, device, final):
        super().__init__(num_envs)
        self.device, self.final = device, final
        self.episode_length_buf = self.episode_length_buf.to(device)

    def groups(self):
        return {"policy": torch.zeros(self.num_envs, 2, device=self.device)}

    def step(self, actions):
        zeros = torch.zeros(self.num_envs, device=self.device)
        extras = {"time_outs": zeros > 0, "log": {"zero": zeros}} | ({"final_obs": self.groups()} if self.final else {})
        return self.groups(), zeros, zeros.long(), extras


class Noisy(Clocks):
    """Seeds the numbers that the process shares and draws its rewards from them, as large simulators do."""

    def seed(self, seed):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)  # noqa: NPY002

    def step(self, actions):
        groups, reward, *rest = super().step(actions)
        drawn = random.random() + np.random.rand() + torch.rand(self.num_envs)  # noqa: NPY002
        return groups, reward + drawn, *rest


def make(num_envs, device, **kwargs):
    return Clocks(num_envs, device, **kwargs)


def broken(num_envs, device, what):
    """With one thing that does not fit."""
    sim = Clocks(num_envs, device)
    groups, step = sim.groups, sim.step
    if what == "num_envs":
        sim.num_envs += 1
    elif what == "attribute":
        del sim.num_actions
    elif what == "tensor":
        sim.get_observations = lambda: torch.zeros(num_envs, 3)
    elif what == "shape":
        sim.get_observations = lambda: groups() | {"rgb": torch.zeros(num_envs, 8, 8)}
    elif what == "device":
        sim.get_observations = lambda: {"policy": torch.zeros(num_envs, 2, device="meta")}
    elif what == "groups":
        sim.groups = lambda: {"policy": groups()["policy"]}
        sim.get_observations = groups
    elif what == "width":
        sim.groups = lambda: groups() | {"critic": torch.zeros(num_envs, 5)}
        sim.get_observations = groups
    elif what == "three":
        sim.step = lambda action: step(action)[:3]
    elif what == "reward":
        sim.step = lambda action: (step(action)[0], torch.zeros(num_envs, 1), *step(action)[2:])
    elif what == "raises":
        sim.step = lambda action: 1 / 0
    return sim


class Manual:
    """As mjlab's with ``auto_reset=False``: gives last observations, and must be told which worlds to reset.

    World i observes (i, its clock) as ``actor`` and (its clock, number of resets) as ``critic``; even ones run out of time
    after ``length`` steps, odd ones end for good one step earlier. Buffers are used again, as simulators do.
    """

    step_dt, max_episode_length = 0.05, 4

    def __init__(self, num_envs, seed, modes=(), finite=False):
        self.num_envs, self.seeds, self.closed = num_envs, [seed], False
        self.action_manager = SimpleNamespace(total_action_dim=2)
        self.event_manager = SimpleNamespace(available_modes=modes)
        self.cfg = SimpleNamespace(is_finite_horizon=finite, decimation=5)
        self.common_step_counter = self._sim_step_counter = 0
        self.episode_length_buf, self.resets = torch.zeros(num_envs, dtype=torch.long), torch.zeros(num_envs)
        self.over = torch.zeros(num_envs, dtype=torch.bool)
        self.reward, self.ended, self.out = torch.zeros(num_envs), self.over.clone(), self.over.clone()

    def groups(self):
        clock = self.episode_length_buf.float()
        index = torch.arange(self.num_envs)
        return {"actor": torch.stack([index, clock], 1), "critic": torch.stack([clock, self.resets], 1)}

    def reset(self, *, seed=None, env_ids=None):
        ids = torch.arange(self.num_envs) if env_ids is None else env_ids
        self.seeds += [] if seed is None else [seed]
        self.episode_length_buf[ids], self.over[ids] = 0, False
        self.resets[ids] += 1
        return self.groups(), {"log": {"Episode/resets": len(ids)}}

    def step(self, action):
        if self.over.any():
            raise RuntimeError("reset first")
        self.episode_length_buf += 1
        self.common_step_counter += 1
        odd = torch.arange(self.num_envs) % 2 == 1
        self.reward.copy_(self.episode_length_buf / 10)
        self.out.copy_(~odd & (self.episode_length_buf >= self.max_episode_length))
        self.ended.copy_(odd & (self.episode_length_buf >= self.max_episode_length - 1))
        self.over = self.out | self.ended
        return self.groups(), self.reward, self.ended, self.out, {"log": {}}

    def close(self):
        self.closed = True
