"""Observations of other spaces than a box: gymnasium's row, read strictly, with names for its columns."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple
from gymnasium.spaces.utils import flatten, flatten_space

from envs.base import EnvError
from envs.flatten import box, columns, unpack
from envs.reader import Unreadable
from envs.vector import vector

SPACE = Dict(
    imu=Dict(gyro=Box(-1, 1, (3,)), acc=Box(-9, 9, (2, 2), np.float64)),
    mode=Discrete(3, start=-1),
    feet=MultiBinary(4),
    gears=MultiDiscrete([2, 3]),
    clock=Tuple((Box(0, 1, ()), Discrete(2))),
)
GOOD = {
    "imu": {"gyro": np.zeros(3, np.float32), "acc": np.ones((2, 2))},
    "mode": 1,
    "feet": np.array([0, 1, 1, 0], np.int8),
    "gears": np.array([1, 2]),
    "clock": (0.5, np.int64(1)),
}


class Told(gymnasium.Env):
    observation_space, action_space = SPACE, Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


class Named(Told):
    observation_space = Box(-1, 1, (5,))
    metadata = {"columns": {"feet": [0, 2], "hidden": [2, 5]}}  # noqa: RUF012 - as gymnasium declares it


@pytest.mark.parametrize(
    "space", [SPACE, Discrete(4, start=2), MultiBinary((2, 2)), Tuple((Box(-1, 1, (2,)),))], ids=str
)
def test_the_row_is_gymnasiums(space):
    flat = box(space)
    assert flat.shape == flatten_space(space).shape
    space.seed(0)
    for _ in range(20):
        obs = space.sample()
        np.testing.assert_array_equal(unpack(space)(obs, "step"), flatten(space, obs))


def test_the_keys_name_the_columns(open_vector):
    env = open_vector(lambda i: Told(), 2, 1, "Told")
    assert env.columns == columns(SPACE)
    assert list(env.columns) == ["imu/gyro", "imu/acc", "mode", "feet", "gears", "clock/part0", "clock/part1"]
    assert env.columns["mode"] == range(7, 10)  # after 3 and 2 x 2 entries
    obs = env.reset(0)
    assert obs.shape == (2, 22) and obs[:, env.columns["mode"]].sum() == 2


def test_a_box_may_declare_names(open_vector):
    assert open_vector(lambda i: Named(), 1, 0, "Named").columns == {"feet": range(2), "hidden": range(2, 5)}
    with pytest.raises(Exception, match=r'metadata\["columns"\] is .*within the 5 columns'):
        vector(lambda i: type("Odd", (Named,), {"metadata": {"columns": {"feet": [0, 9]}}})(), 1, 0, "Odd")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mode": 3}, r"observation\['mode'\] is 3"),
        ({"mode": 0.5}, r"observation\['mode'\] is 0.5"),
        ({"mode": "1"}, r"observation\['mode'\] is '1'"),
        ({"feet": np.array([0, 2, 0, 0])}, r"observation\['feet'\]"),
        ({"gears": np.array([2, 0])}, r"observation\['gears'\]"),
        ({"imu": {"gyro": np.zeros(3)}}, r"observation\['imu'\] is a dict of gyro, its space says a dict of"),
        ({"imu": {"gyro": np.zeros(1), "acc": np.zeros((2, 2))}}, r"\['gyro'\] has shape \(1,\)"),
        ({"imu": None}, r"observation\['imu'\] is None"),
        ({"clock": (0.5,)}, r"observation\['clock'\] is a tuple of 1"),
        ({"other": 1}, "observation is a dict of .*other"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_by_its_name(changed, said):
    unpack(SPACE)(GOOD, "step")
    with pytest.raises(Unreadable, match=f"^step.*{said}"):
        unpack(SPACE)(GOOD | changed, "step")


def test_two_parts_of_one_name_are_refused():
    """Else a name would be that of the wrong columns."""
    twice = Dict({"a/b": Box(-1, 1, (2,)), "a": Dict({"b": Box(-1, 1, (1,))})})
    with pytest.raises(EnvError, match="^two parts of its observation are called a/b; rename a key$"):
        columns(twice)


def test_a_part_without_a_size_is_named():
    with pytest.raises(
        EnvError, match="^part task/words of an observation is a Text, which has no fixed number of entries"
    ):
        columns(Dict(task=Dict(words=Text(9))))
