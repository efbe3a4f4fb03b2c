import numpy as np
import pytest
from gymnasium.spaces import Box

from envs.action import clip, tanh
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


def test_tanh_refuses_a_space_without_bounds():
    with pytest.raises(EnvError, match="clip"):
        tanh(RAW, Box(-np.inf, np.inf, (2,)))
