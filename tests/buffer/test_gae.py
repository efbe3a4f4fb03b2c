"""Generalised advantage estimation against numbers computed by hand, and against the mistakes people make."""

import pytest
import torch
from jaxtyping import TypeCheckError

from ppo.buffer.gae import gae

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def run(case, dtype=torch.float64):
    """The reference gives V of the final observation where truncated, and V of what follows the last step."""
    number = {k: torch.tensor(case[k], dtype=dtype) for k in ("reward", "value", "final_value")}
    terminated, truncated = (torch.tensor(case[k]).bool() for k in ("terminated", "truncated"))
    following = torch.cat([number["value"][1:], torch.tensor([case["last_value"]], dtype=dtype)])
    next_value = torch.where(truncated, number["final_value"], following)
    done = terminated | truncated
    return gae(number["reward"], number["value"], next_value, terminated, done, case["gamma"], case["lam"])


@BOTH
def test_reference_advantages_and_returns(vectors, dtype):
    for name, case in vectors["gae"].items():
        value, expected, returns = (torch.tensor(case[k], dtype=dtype) for k in ("value", "advantage", "returns"))
        advantage = run(case, dtype)
        torch.testing.assert_close(advantage, expected, msg=name)
        torch.testing.assert_close(advantage + value, returns, msg=name)


def test_truncation_is_none_of_the_usual_mistakes(vectors):
    """Taken for a termination; bootstrapped with V(s_t) or with V of the reset observation; a trace that leaks."""
    right = run(vectors["gae"]["truncated_at_2_Vfinal4"])
    wrong = vectors["gae_mistakes"]
    assert len(wrong) == 4
    for name, advantage in wrong.items():
        assert (right - torch.tensor(advantage, dtype=torch.float64)).abs().max() > 0.1, name


@BOTH
def test_a_masked_step_tells_those_before_it_nothing(dtype):
    """Rewards 1, values 2, gamma 0.9, lambda 0.8; the third of five steps is left out, and its episode is over. The step
    before ends with the value of the state that it led to: 1 + 0.9 * 2 - 2 = 0.8, the first adds 0.72 * 0.8."""
    reward, value, next_value = (
        torch.tensor(x, dtype=dtype) for x in ([1.0, 1, 1e6, 1, 1], [2.0] * 5, [2.0, 2, 1e6, 2, 2])
    )
    mask = torch.arange(5) != 2
    advantage = gae(reward, value, next_value, torch.zeros(5), ~mask, 0.9, 0.8, mask)
    expected = torch.tensor([0.8 * 1.72, 0.8, 0.0, 0.8 * 1.72, 0.8], dtype=dtype)
    torch.testing.assert_close(advantage, expected)
    open_ended = gae(reward, value, next_value, torch.zeros(5), torch.zeros(5), 0.9, 0.8, mask)
    torch.testing.assert_close(open_ended, expected)  # of a step that its world did not end


@pytest.mark.parametrize("ending", ["terminated", "truncated"])
def test_an_episode_end_cuts_the_trace(ending):
    """What the next episode pays leaves the advantages before the end bitwise the same."""
    end = torch.tensor([0, 0, 1, 0, 0]).bool()
    terminated = end if ending == "terminated" else torch.zeros_like(end)
    value = torch.tensor([0.5, 1.0, -0.5, 1.5, 2.0])

    def advantage(later_reward):
        reward = torch.tensor([1.0, 0.0, -1.0, later_reward, later_reward])
        return gae(reward, value, torch.full((5,), 3.0), terminated, end, 0.9, 0.8)

    assert torch.equal(advantage(0.0)[:3], advantage(100.0)[:3])
    assert not torch.equal(advantage(0.0)[3:], advantage(100.0)[3:])


def test_termination_ignores_even_a_nan_successor():
    one, end = torch.ones(1), torch.ones(1).bool()
    assert gae(one, torch.zeros(1), torch.tensor([float("nan")]), end, end, 0.9, 0.8).item() == 1


def test_a_column_of_values_is_refused():
    """[T] against [T, 1] would silently give [T, T]."""
    row, end = torch.zeros(4), torch.zeros(4).bool()
    with pytest.raises(TypeCheckError):
        gae(row, row, torch.zeros(4, 1), end, end, 0.9, 0.8)


def test_every_axis_but_time_is_free(vectors):
    """Two environments and three seeds side by side are computed as each alone."""
    g = torch.Generator().manual_seed(0)
    reward, value, next_value = torch.randn(3, 7, 2, 3, generator=g)
    terminated = torch.rand(7, 2, 3, generator=g) < 0.2
    done = terminated | (torch.rand(7, 2, 3, generator=g) < 0.2)
    together = gae(reward, value, next_value, terminated, done, 0.9, 0.8)
    for i in range(2):
        for j in range(3):
            columns = (x[:, i, j] for x in (reward, value, next_value, terminated, done))
            assert torch.equal(together[:, i, j], gae(*columns, 0.9, 0.8))
