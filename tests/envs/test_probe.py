import numpy as np
import pytest

from envs.probe import TASKS, probe
from ppo.config.options import ConfigError, option

GAMMA = 0.9


@pytest.mark.parametrize("task", [task for task in TASKS if task != "cue"])  # whose answer no observation tells
def test_the_answer_satisfies_the_bellman_equation(task):
    """V(s) = E[r + gamma (not terminated) V(s')] under the best action, along played steps."""
    env, answer = probe(4, 0, task=task), TASKS[task]
    obs = env.reset(0).copy()
    for _ in range(60):
        best = answer.best(obs)
        step = env.step(np.zeros((4, 1)) if best is None else best)
        future = np.where(step.terminated[:, None], 0.0, answer.value(step.next_obs, GAMMA))
        np.testing.assert_allclose(answer.value(obs, GAMMA), step.reward[:, None] + GAMMA * future, atol=1e-6)
        obs = step.obs.copy()


def test_another_action_is_worse():
    env = probe(4, 0, task="target")
    best = TASKS["target"].best(env.reset(0)).copy()
    np.testing.assert_allclose(env.step(best + 0.25).reward, -(0.25**2), atol=1e-6)


def test_endings_are_of_both_kinds():
    env = probe(8, 0, task="ending")
    obs = env.reset(0).copy()
    step = env.step(np.zeros((8, 1)))
    np.testing.assert_array_equal(step.terminated, obs[:, 0] > 0)
    np.testing.assert_array_equal(step.truncated, obs[:, 0] < 0)
    assert step.terminated.any() and step.truncated.any()


def test_a_cue_is_worth_1_to_who_remembers_it_and_half_of_that_on_average_to_anybody_else():
    env = probe(64, 0, task="cue")
    cue, ends = env.reset(0).copy(), []
    for played in (cue, np.ones((64, 1))):
        for step in range(11):
            seen = env.step(played)
            assert (seen.obs == 0).all() == (step < 10) and seen.terminated.all() == (step == 10)
        ends.append(seen.episode_return.copy())
    assert (ends[0] == 1).all() and 0.25 < ends[1].mean() < 0.75


def test_unknown_task():
    with pytest.raises(ConfigError, match="constant"):
        option("env", "probe", task="riddle")
