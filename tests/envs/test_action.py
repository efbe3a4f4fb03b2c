import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from envs.action import clip, random_actions, received, tanh, untanh
from envs.base import EnvError

SPACE = Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 4.0], np.float32))
RAW = np.array([[0.0, 0.0], [-3.0, 9.0], [0.25, 2.0], [40.0, -40.0]], np.float32)


def test_clip_keeps_what_is_inside_and_moves_the_rest_to_the_bound():
    assert clip(RAW, SPACE).tolist() == [[0, 0], [-1, 4], [0.25, 2], [1, 0]]


def test_tanh_maps_zero_to_the_middle_and_infinity_to_the_bounds():
    squashed = tanh(RAW, SPACE)
    assert squashed[0].tolist() == [0, 2]
    assert squashed[3].tolist() == [1, 0]
    np.testing.assert_allclose(squashed[2], [np.tanh(0.25), 2 + 2 * np.tanh(2.0)], rtol=1e-6)


@pytest.mark.parametrize("mapping", [clip, tanh])
def test_output_is_inside_in_the_dtype_of_the_space_and_the_input_is_left_alone(mapping):
    awkward = Box(np.float32(-0.1), np.float32(0.3), (2,))  # bounds that round
    for dtype in (np.float32, np.float64):
        raw = np.random.default_rng(0).normal(0, 5, (3, 100, 2)).astype(dtype)
        before = raw.copy()
        mapped = mapping(raw, awkward)
        assert mapped.dtype == np.float32 and mapped.shape == raw.shape
        assert (mapped >= awkward.low).all() and (mapped <= awkward.high).all()
        np.testing.assert_array_equal(raw, before)


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    "low, high, says",
    [
        ([-np.inf, -np.inf], [np.inf, np.inf], r"action 0 of \[-inf, inf\] has none below and above"),
        ([-1, 0], [1, np.inf], r"action 1 of \[0, inf\] has none above"),
        ([-1, -LARGEST], [1, LARGEST], "action 1 reaches from .* a width that float32 cannot hold"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_tanh_refuses_a_space_without_bounds_and_says_where(low, high, says):
    with pytest.raises(EnvError, match=f"{says}; use action=clip"):
        tanh(RAW, Box(np.float32(low), np.float32(high)))


@pytest.mark.filterwarnings("error")
def test_an_action_without_any_room_is_its_bound():
    space = Box(np.array([-1, 0.5], np.float32), np.array([1, 0.5], np.float32))
    for mapping in (clip, tanh):
        assert (mapping(RAW, space)[:, 1] == 0.5).all()
    back = untanh(tanh(RAW, space), space)
    assert (back[:, 1] == 0).all()
    np.testing.assert_allclose(back[2, 0], RAW[2, 0], rtol=1e-6)


@pytest.mark.parametrize(
    "space",
    [
        Box(np.float32([5, -1]), np.float32([35, -1])),
        Box(np.float32([0, -np.inf]), np.float32([np.inf, 3])),
        Box(-np.inf, np.inf, (2,), np.float64),
        Box(np.finfo(np.float64).min, np.finfo(np.float64).max, (2,), np.float64),
        Discrete(3, start=-1),
        MultiDiscrete([2, 3], start=[-1, 5]),
        MultiDiscrete([4, 1, 3], dtype=np.int32),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_random_actions_lie_in_their_space(space):
    drawn = random_actions(space, (50, 4), np.random.default_rng(0))
    assert drawn.shape == (50, 4, *space.shape) and drawn.dtype == space.dtype
    assert all(space.contains(action) for action in drawn.reshape(200, *space.shape))
    assert len(np.unique(drawn)) > 2 and np.isfinite(drawn).all()


@pytest.mark.parametrize("option", [clip, tanh])
def test_tensors_are_mapped_as_arrays_are(option):
    """Where the world lives on a device, that of the space on its own."""
    space = Box(np.array([-2.0, 0.5], np.float32), np.array([1.0, 3.0], np.float32))
    action = 4 * np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32)
    to_world = received(option, space, torch.device("cpu"))
    there, here = to_world(torch.tensor(action)), to_world(action)
    assert there.dtype == torch.float32 and isinstance(here, np.ndarray)
    np.testing.assert_allclose(there, here, rtol=1e-6, atol=1e-6)
    assert ((there >= torch.tensor(space.low)) & (there <= torch.tensor(space.high))).all()
    assert received(clip, Discrete(3, start=2), torch.device("cpu"))(torch.tensor([0, 2])).tolist() == [2, 4]


def test_discrete_actions_begin_where_their_space_does():
    np.testing.assert_array_equal(clip(np.array([0, 2]), Discrete(3, start=-1)), [-1, 1])
    space = MultiDiscrete([2, 3], start=[-1, 5])
    begun = clip(np.array([[0, 0], [1, 2]]), space)
    np.testing.assert_array_equal(begun, [[-1, 5], [0, 7]])
    assert all(row in space for row in begun.astype(space.dtype))
    there = received(clip, space, torch.device("cpu"))(torch.tensor([[0, 0], [1, 2]]))
    assert there.tolist() == begun.tolist()
    with pytest.raises(EnvError, match="action=tanh is for continuous actions, not MultiDiscrete"):
        tanh(begun, space)
