"""What actor and critic see of an observation."""

import numpy as np
import pytest
import torch

from ppo.config.options import option
from ppo.network.acting import actor
from ppo.network.columns import Columns, choose
from ppo.network.normaliser import ObsNormaliser

NAMES = {
    "imu/gyro": range(3),
    "imu/acc": range(3, 6),
    "feet": range(6, 8),
    "hidden": range(8, 10),
    "none": range(10, 10),
}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, None),
        ([0, 3], [0, 3]),
        ([-1, "2"], [2, 9]),
        (["0:3", "2:4"], [0, 1, 2, 3]),
        (["8:"], [8, 9]),
        ([":-7"], [0, 1, 2]),
        (["feet"], [6, 7]),
        (["imu"], [0, 1, 2, 3, 4, 5]),
        (["*/acc", "h?dden"], [3, 4, 5, 8, 9]),
        (["imu", "feet", "hidden"], None),
        (["none", "feet"], [6, 7]),
    ],
    ids=str,
)
def test_columns_are_chosen_by_number_range_and_name(wanted, found):
    assert choose(wanted, 10, NAMES) == found


@pytest.mark.parametrize(
    ("wanted", "found"),
    [(["foot[1]"], [0, 1]), (["foot1"], [2, 3]), (["foot[*"], [0, 1]), (["0"], [4, 5]), ([0], [0]), (["1"], [6])],
    ids=str,
)
def test_a_name_is_itself_whatever_is_in_it(wanted, found):
    """Not a pattern of the shell, and not the number of a column."""
    names = {"foot[1]": range(2), "foot1": range(2, 4), "0": range(4, 6), "1/x": range(6, 7)}
    assert choose(wanted, 7, names) == found


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ([], "names no column"),
        ([10], "10: there are columns 0 to 9"),
        (["3:3"], "columns 0 to 9"),
        (["5:12"], "columns 0 to 9"),
        (["feets"], "feets: no such columns; did you mean feet?"),
        (["knee"], "knee: no such columns; there are imu/gyro, imu/acc, feet, hidden, none"),
        (["none"], "[none]: names parts that have no column; ['0:'] sees all"),
    ],
    ids=str,
)
def test_what_names_nothing_is_refused(wanted, said):
    with pytest.raises(ValueError) as error:
        choose(wanted, 10, NAMES)
    assert said in str(error.value)


@pytest.mark.parametrize("columns", [[1, 2], [0, 2]], ids=["in a row", "apart"])
@pytest.mark.parametrize("head", ["mlp", "gsde", "state_std"])
def test_a_network_with_columns_is_the_smaller_network_on_them(head, columns):
    build = option("network", head, actor=[8], critic=[8])
    small, network = (build((2, 3), 2, torch.Generator().manual_seed(0)) for _ in range(2))
    network.actor.insert(0, Columns(columns))
    obs = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    noise = network.noise(1, 5, torch.Generator().manual_seed(2))[0]
    with torch.no_grad():
        expected = small.sample(obs[:, columns].contiguous(), noise)[0]
        found = network.sample(obs, noise)[0]
        assert torch.equal(network.value(obs), small.value(obs))
    torch.testing.assert_close(found, expected)
    acted, *_ = actor(network, ObsNormaliser.identity(), 5)(obs.numpy(), noise, ())
    np.testing.assert_allclose(acted, expected.numpy(), rtol=1e-5, atol=1e-6)
