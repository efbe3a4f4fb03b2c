"""A video lasts as long as its episode, whatever its pictures."""

import imageio.v3 as imageio
import numpy as np
import pytest

from envs.base import EnvError
from envs.vector import vector
from ppo.config.options import ConfigError
from ppo.run.film import check_path, film
from tests.envs.toy import Counter


class Screen(Counter):
    """Draws ``fps`` frames of odd size a second, the step in their colour."""

    def __init__(self, fps):
        super().__init__(0, 20)
        self.metadata = {"render_modes": ["rgb_array"], **({"render_fps": fps} if fps else {})}

    def render(self):
        return np.full((33, 51, 3), 100 + self.clock, np.uint8)


def shot(env, path):
    envs = vector(lambda index: env, 1, 0, "screen")
    try:
        return film(envs, lambda obs, memory: (np.zeros((1, 2), np.float32), memory), 0, path)
    finally:
        envs.close()


@pytest.mark.parametrize(("fps", "seconds"), [(100, 0.2), (60, 20 / 60), (8, 2.5), (None, 20 / 30), (1000, 0.02)])
def test_a_gif_takes_as_long_as_the_episode(tmp_path, fps, seconds):
    said = shot(Screen(fps), tmp_path / "a.gif")
    shown = [
        imageio.immeta(tmp_path / "a.gif", index=i)["duration"] for i in range(len(imageio.imread(tmp_path / "a.gif")))
    ]
    assert sum(shown) / 1000 == pytest.approx(seconds, abs=0.01) and min(shown) >= 20
    assert imageio.imread(tmp_path / "a.gif").shape[1:] == (33, 51, 3) and f"{seconds:.2f} s" in said


def test_an_mp4_of_odd_size_takes_as_long_as_the_episode(tmp_path):
    shot(Screen(100), tmp_path / "new" / "a.mp4")
    frames, about = imageio.imread(tmp_path / "new" / "a.mp4"), imageio.immeta(tmp_path / "new" / "a.mp4")
    assert (about["fps"], about["duration"]) == (100, 0.2) and frames.shape == (20, 34, 52, 3)
    assert frames[0].mean() == pytest.approx(100, abs=3) and frames[-1].mean() == pytest.approx(119, abs=3)


def test_an_environment_that_does_not_draw_is_one_line_and_no_file(tmp_path):
    blank = Screen(30)
    blank.render = lambda: None
    with pytest.raises(EnvError) as error:
        shot(blank, tmp_path / "a.gif")
    assert "None" in str(error.value) and "\n" not in str(error.value) and not [*tmp_path.iterdir()]
    with pytest.raises(ConfigError, match=r"must end in .mp4 or .gif"):
        check_path(tmp_path / "a.avi")
