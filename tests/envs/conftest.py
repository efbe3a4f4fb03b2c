import pytest

from envs.vector import vector


@pytest.fixture
def open_vector():
    """Makes vectors and closes them after the test."""
    opened = []

    def make(*args, **kwargs):
        opened.append(vector(*args, **kwargs))
        return opened[-1]

    yield make
    while opened:  # not kept either: a vector's arrays hold its shared block
        opened.pop().close()
