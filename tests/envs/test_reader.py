"""What environments return: taken as it is or refused in one line, never broadcast, parsed or cut."""

from collections import UserDict

import numpy as np
import pytest

from envs.reader import Reader, Unreadable

GOOD = (np.array([1.0, 2.0], np.float32), 0.5, False, True, {})


def answer(**changed):
    fields = dict(zip(("obs", "reward", "terminated", "truncated", "info"), GOOD)) | changed
    return Reader((2,)).step(tuple(fields.values()))


@pytest.mark.parametrize(
    "changed, group",
    [
        ({}, None),
        ({"obs": [1, 2]}, None),
        ({"obs": (np.float64(1), 2.0)}, None),
        ({"obs": np.array([1, 2], np.uint8)}, None),
        ({"reward": np.array([0.5])}, None),
        ({"reward": np.float32(0.5)}, None),
        ({"reward": np.array([[0.5]], np.float16)}, None),
        ({"terminated": np.array([False]), "truncated": np.bool_(True)}, None),
        ({"terminated": 0, "truncated": 1.0}, None),
        ({"info": None}, None),
        ({"info": UserDict(group=np.array([3]))}, 3),
        ({"info": {"group": 3.0}}, 3),
        ({"info": {"group": np.int32(-3), "else": "what"}}, -3),
    ],
)
def test_what_means_the_same_is_the_same(changed, group):
    obs, *rest = answer(**changed)
    assert obs.tolist() == [1, 2] and rest == [0.5, False, True, group]


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"obs": np.zeros(1)}, "step..: observation has shape .1,., its space says .2,."),
        ({"obs": 1.5}, "observation has shape .., its space says .2,."),
        ({"obs": np.zeros((1, 2))}, "observation has shape .1, 2., its space says .2,."),
        ({"obs": None}, "observation is None, its space says an array of shape .2,."),
        ({"obs": {"x": 1}}, "observation is of type dict"),
        ({"obs": ["1", "2"]}, "observation is a list of 2"),
        ({"obs": [[1], [1, 2]]}, "observation is a list of 2"),
        ({"obs": np.array([1, 2j])}, "observation is an array"),
        ({"reward": "0.5"}, "reward is '0.5', must be one number"),
        ({"reward": None}, "reward is None, must be one number"),
        ({"reward": [1.0, 2.0]}, r"reward has shape .2,., must be one number"),
        ({"reward": 1j}, "reward is of type complex"),
        ({"reward": 10**400}, "reward is 1000.*, must be one number"),
        ({"terminated": np.nan}, "terminated is nan, must be True or False"),
        ({"truncated": 2}, "truncated is 2, must be True or False"),
        ({"truncated": "False"}, "truncated is 'False', must be True or False"),
        ({"terminated": None}, "terminated is None, must be True or False"),
        ({"terminated": np.array([True, False])}, "terminated has shape .2,."),
        ({"info": "group of packets: 7"}, "info is 'group of packets: 7', must be a dict"),
        ({"info": {"group": "rough"}}, "info.'group'. must be a whole number, not 'rough'"),
        ({"info": {"group": 0.5}}, "whole number, not 0.5"),
        ({"info": {"group": np.nan}}, "whole number, not nan"),
        ({"info": {"group": [1, 2]}}, "whole number, not a list of 2"),
        ({"info": {"group": 2**63}}, "whole number, not 9223"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_came(changed, says):
    with pytest.raises(Unreadable, match=says) as error:
        answer(**changed)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "result, says",
    [
        (GOOD[:4], r"a tuple of 4, as gym's old interface did: \(obs, reward, done, info\)"),
        (None, "returned None; gymnasium's step.. must return .obs, reward, terminated, truncated, info."),
        ({}, "of type dict"),
    ],
)
def test_a_step_is_five_things(result, says):
    with pytest.raises(Unreadable, match=says):
        Reader((2,)).step(result)


def test_a_reset_is_an_observation_and_an_info():
    reader = Reader((2,))
    for info, group in (({}, None), (None, None), ({"group": 4}, 4)):
        obs, told = reader.reset((GOOD[0], info))
        assert obs is GOOD[0] and told == group
    for old in (np.zeros(2), np.zeros(3), (0.0, 1.0), [0.0, 1.0], 0.5):
        with pytest.raises(Unreadable, match=r"reset\(\) must return \(obs, info\)"):
            reader.reset(old)
    with pytest.raises(Unreadable, match="reset..: observation has shape .3,."):
        reader.reset((np.zeros(3), {}))


def test_a_picture_is_bytes_of_three_colours():
    picture = np.full((3, 5, 4), 7, np.uint8)
    for drawn in (picture[..., :3], picture):
        frame = Reader((2,)).frame(drawn)
        assert frame.shape == (3, 5, 3) and not np.shares_memory(frame, drawn)
    for bad, says in (
        (None, "gave None"),
        (np.zeros((3, 5, 3)), "of shape .3, 5, 3. of float64"),
        (np.zeros((3, 5), np.uint8), "shape .3, 5."),
        ([picture], "a list of 1"),
    ):
        with pytest.raises(Unreadable, match=says):
            Reader((2,)).frame(bad)


def test_the_good_path_converts_nothing():
    """An array that fits is handed on itself, also of another dtype than before; a later one of another shape is seen."""
    reader = Reader((2,))
    for dtype in (np.float32, np.float64, np.float32, np.int16):
        obs = np.ones(2, dtype)
        assert reader.step((obs, *GOOD[1:]))[0] is obs
    with pytest.raises(Unreadable):
        reader.step((np.ones(1, np.int16), *GOOD[1:]))
