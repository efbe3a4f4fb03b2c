"""One option, one function, one yaml of the same name, with the same keys and defaults."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
from omegaconf import OmegaConf

CONF = Path(__file__).parents[2] / "conf" / "logger"
OPTIONS = sorted(path.stem for path in CONF.glob("*.yaml"))


def test_the_options():
    assert OPTIONS == ["none", "tensorboard", "trackio", "wandb"]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_yaml_says_what_its_function_says(name):
    options = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    assert options.pop("_target_") == f"ppo.logging.{name}.{name}"
    function = getattr(import_module(f"ppo.logging.{name}"), name)
    data, *keywords = inspect.signature(function).parameters.values()
    assert data.name == "run"
    assert all(keyword.kind is keyword.KEYWORD_ONLY for keyword in keywords)
    defaults = {k.name: list(k.default) if isinstance(k.default, tuple) else k.default for k in keywords}
    assert options == defaults
