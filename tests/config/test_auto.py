"""workers=auto and threads=auto: measured, and a number afterwards."""

import time

import pytest
import torch

from envs.probe import Target
from envs.vector import vector
from ppo.config import auto


class Slow(Target):
    def __init__(self, index: int):
        pass

    def move(self, action):
        time.sleep(1e-3)
        return super().move(action)


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(auto, "cores", lambda: 4)


@pytest.mark.parametrize("num_envs, expected", [(1, 0), (2, 1), (3, 2), (16, 3)])
def test_a_long_step_is_shared_by_the_cores_but_never_by_more_than_there_are_environments(num_envs, expected):
    assert auto.workers(vector(Slow, 1, 0, "slow"), num_envs) == expected


def test_a_short_step_stays_in_this_process(config):
    assert auto.resolve(config("workers=auto")).workers == 0


def test_threads_are_one_unless_more_are_clearly_faster(config, monkeypatch):
    before = torch.get_num_threads()
    for gain, expected in ((1.1, 1), (2.0, 4)):
        monkeypatch.setattr(auto, "_seconds", lambda turn, times: 1 / gain if torch.get_num_threads() == 4 else 1.0)  # noqa: B023
        assert auto.resolve(config("threads=auto")).threads == expected
    assert torch.get_num_threads() == before


def test_numbers_are_left_alone_and_the_given_configuration_too(config):
    cfg = config("workers=2", "threads=3")
    assert auto.resolve(cfg) is cfg
    asked = config("workers=auto")
    auto.resolve(asked)
    assert asked.workers == "auto"
