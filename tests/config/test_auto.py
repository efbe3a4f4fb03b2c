"""workers=auto and threads=auto: measured, and a number afterwards."""

import time

import pytest
import torch

from envs.probe import Target
from envs.vector import vector
from ppo.config import auto
from ppo.config.options import option
from ppo.run.machine import resolve


class Slow(Target):
    def __init__(self, index: int):
        pass

    def move(self, action):
        time.sleep(1e-3)
        return super().move(action)


@pytest.mark.parametrize("num_envs, expected", [(1, 0), (2, 1), (3, 2), (16, 3)])
def test_a_long_step_is_shared_by_the_cores_but_never_by_more_than_there_are_environments(num_envs, expected):
    assert auto.workers(vector(Slow, 1, 0, "slow"), num_envs, cores=4) == expected


@pytest.mark.parametrize("taken, expected", [(4.9e-5, 0), (5.1e-5, 3)])
def test_a_vector_step_below_200_us_stays_in_this_process(monkeypatch, taken, expected):
    monkeypatch.setattr(auto, "_seconds", lambda step, times: (step(), taken)[1])
    assert auto.workers(option("env", "probe", task="target")(1, 0), 4, cores=4) == expected


def test_threads_are_one_unless_more_are_clearly_faster(monkeypatch):
    network = option("network", "mlp", actor=[8], critic=[8])(3, 2, torch.Generator())
    before = torch.get_num_threads()
    for gain, expected in ((1.1, 1), (2.0, 4)):
        monkeypatch.setattr(auto, "_seconds", lambda turn, times: 1 / gain if torch.get_num_threads() == 4 else 1.0)  # noqa: B023
        assert auto.threads(network, 3, 8, cores=4) == expected
    assert torch.get_num_threads() == before
    assert auto.threads(network, 3, 8, cores=1) == 1


def test_numbers_are_left_alone_and_the_given_configuration_too(config, monkeypatch):
    monkeypatch.setattr(auto, "_seconds", lambda call, times: 1e-6)  # short, however busy the machine is
    cfg = config("workers=2", "threads=3")
    assert resolve(cfg) is cfg
    asked = config("workers=auto", "threads=auto")
    got = resolve(asked)
    assert asked.workers == asked.threads == "auto"
    assert got.workers == 0 and got.threads >= 1


def test_threads_of_a_network_with_memory(config, monkeypatch):
    monkeypatch.setattr(auto, "usable_cores", lambda processes=1: 2)
    monkeypatch.setattr(auto, "_seconds", lambda turn, times: turn() or 1.0)
    words = ("network=lstm", "network.hidden=8", "network.chunk=16", "minibatch_size=32", "num_steps=16")
    assert resolve(config("threads=auto", *words)).threads == 1
