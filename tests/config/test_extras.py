"""What to type where an extra is missing: what helps from where the person stands, and installs nobody else's package."""

import sys

import pytest

from ppo.config import extras


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(extras, "CHECKOUT", tmp_path)
    return tmp_path


def test_in_the_environment_that_make_keeps(checkout, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(checkout / ".venv"))
    assert extras.needs("--video", "video") == f"--video needs an extra: make -C {checkout} extras"


def test_in_a_checkout_with_an_environment_of_ones_own(checkout):
    assert extras.install("video") == f"pip install -e '{checkout}[video]'"
    assert extras.install("ray").endswith(f"pip install -c {checkout}/constraints-ray.txt -e '{checkout}[ray]'")


def test_an_installed_wheel_names_the_packages_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(extras, "CHECKOUT", tmp_path)
    monkeypatch.setattr(
        extras, "requires", lambda name: ["torch", 'imageio<3,>=2.36; extra == "video"', 'pillow; extra == "video"']
    )
    assert extras.install("video") == "pip install 'imageio<3,>=2.36' 'pillow'"
