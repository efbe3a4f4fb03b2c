"""mjlab, by a stand-in for its simulation; and the real one where it is installed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from envs.base import EnvError, NoState
from envs.mjlab import Mjlab
from ppo.config.options import option
from tests.envs.simulators import Manual

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
HERE = importlib.util.find_spec("mjlab") is not None


def world(count=2, *, random_start=False, **told):
    made = []

    def make(seed):
        made.append(Manual(count, seed, **told))
        return made[-1]

    return Mjlab(make, count, CPU, "Task", random_start=random_start, masks=True), made


def steps(env, count):
    env.reset(0)
    return [env.step(torch.zeros(2, 2)) for _ in range(count)]


def test_the_ended_are_reset_after_their_last_observation_was_seen():
    env, _ = world()
    took = steps(env, 4)
    assert env.columns == {"actor": range(2), "critic": range(2, 4)}
    assert env.roles == {"actor": ["actor"], "critic": ["critic"]} and env.fps == 20
    assert [s.terminated.tolist() for s in took] == [[False] * 2, [False] * 2, [False, True], [False] * 2]
    assert [s.truncated.tolist() for s in took] == [[False] * 2] * 3 + [[True, False]]
    assert took[2].next_obs[1].tolist() == [1, 3, 3, 2] and took[2].obs[1].tolist() == [1, 0, 0, 3]
    assert took[3].next_obs[0].tolist() == [0, 4, 4, 2] and took[3].obs[0].tolist() == [0, 0, 0, 3]
    assert torch.equal(took[2].obs[0], took[2].next_obs[0]) and torch.equal(took[3].obs[1], took[3].next_obs[1])
    assert [s.reward[0].item() for s in took] == pytest.approx([0.1, 0.2, 0.3, 0.4])  # each in memory of its own
    assert took[3].episode_return[0].item() == pytest.approx(1.0) and took[2].episode_length.tolist() == [0, 3]
    assert env.log() == {"Episode/resets": 1.0}


def test_a_world_that_broke_is_reset_and_its_episode_is_not_counted(monkeypatch):
    def spoilt(sim, groups=Manual.groups):
        broken = (torch.arange(2) == 0) & (sim.episode_length_buf == 2) & (sim.resets == 2)
        return {name: torch.where(broken[:, None], torch.nan, x) for name, x in groups(sim).items()}

    monkeypatch.setattr(Manual, "groups", spoilt)
    env, _ = world()
    took = steps(env, 6)
    assert [s.truncated[0].item() for s in took] == [False, True, False, False, False, True]
    assert [bool(s.reward[0].isnan()) for s in took] == [False, True] + [False] * 4
    assert took[1].next_obs[0].isnan().all() and took[1].obs[0].tolist() == [0, 0, 0, 3]
    assert torch.equal(took[1].obs[1], took[1].next_obs[1]) and not took[1].reward[1].isnan()
    assert took[1].episode_return[0].isnan() and took[5].episode_length[0] == 4


def test_a_time_limit_of_a_finite_horizon_is_an_end():
    last = steps(world(finite=True)[0], 4)[-1]
    assert last.terminated.tolist() == [True, False] and not last.truncated.any()


def test_what_is_drawn_when_a_world_is_made_is_drawn_by_the_seed():
    env, made = world(modes=("reset", "startup"))
    env.reset(1)
    env.reset(1)
    assert len(made) == 2 and made[0].closed and made[1].seeds == [made[1].seeds[0]] * 3
    env.reset(2)
    assert len(made) == 3
    env, made = world(modes=("reset",))
    env.reset(1)
    env.reset(2)
    assert len(made) == 1 and len(set(made[0].seeds)) == 3


def test_curricula_go_on_where_they_were_and_episodes_do_not(capsys):
    env, _ = world()
    steps(env, 3)
    state = env.state()
    assert state["common_step_counter"].tolist() == [3, 3]
    assert "exact_resume=false" in capsys.readouterr().err
    other, made = world()
    with pytest.raises(NoState):
        other.set_state(state)
    other.reset(5)
    assert made[0].common_step_counter == 3 and made[0]._sim_step_counter == 15
    other.step(torch.zeros(2, 2))
    assert other.state()["common_step_counter"].tolist() == [4, 4]


def test_random_first_lengths():
    env, made = world(200, random_start=True)
    env.reset(3)
    assert set(made[0].episode_length_buf.tolist()) == {0, 1, 2, 3}


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setitem(sys.modules, "warp", None)
    with pytest.raises(EnvError, match=r"pip install -c constraints-mjlab.txt -e '.\[mjlab\]'") as error:
        option("env", "mjlab")(1, 0, CPU)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not HERE, reason="needs the mjlab extra, in an environment of its own")
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_unknown_task_and_a_real_one():
    """The first time, kernels are compiled for minutes."""
    with pytest.raises(EnvError, match="did you mean Mjlab-Cartpole-Balance"):
        option("env", "mjlab", id="Mjlab-Cartpole-Balanc")(1, 0, CPU)
    env = option("env", "mjlab")(3, 0, CPU)
    assert env.columns == {"actor": range(5), "critic": range(5, 10)}
    first = env.reset(7)
    assert torch.equal(env.reset(7), first) and not torch.equal(env.reset(8), first)
    env._sim.episode_length_buf[1] = env._sim.max_episode_length - 1
    step = env.step(torch.zeros(3, 1))
    assert step.truncated.tolist() == [False, True, False] and not step.terminated.any()
    assert torch.equal(step.obs[::2], step.next_obs[::2]) and not torch.equal(step.obs[1], step.next_obs[1])
    assert env._sim.episode_length_buf.tolist() == [1, 0, 1]
    env.close()


@pytest.mark.skipif(not HERE, reason="needs the mjlab extra, in an environment of its own")
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_pole_is_learned_to_be_balanced(tmp_path):
    """Of 5 a pole that is upright throughout is worth 5."""
    words = ("+experiment=mjlab_balance", "logger=none")
    command = [sys.executable, "-m", "ppo.train", *words, f"hydra.run.dir={tmp_path}/run"]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["eval/return"] > 4.5
