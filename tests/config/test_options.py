"""Groups and their functions, and what is refused before a run exists."""

import importlib
import inspect

import pytest
from omegaconf import OmegaConf

from ppo.config.check import check
from ppo.config.options import CONF, GROUPS, ConfigError, short, strategy

OPTIONS = sorted(p for group in GROUPS for p in (CONF / group).glob("*.yaml"))


def functions(module: str) -> dict:
    """The public functions that a module defines itself, by the name they are known by."""
    found = vars(importlib.import_module(module)).values()
    return {f.__name__: f for f in found if inspect.isfunction(f) and f.__module__ == module and f.__name__[0] != "_"}


def modules(group: str) -> set[str]:
    return {OmegaConf.load(p)._target_.rpartition(".")[0] for p in (CONF / group).glob("*.yaml")}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_has_one_yaml_for_each_function_and_of_the_same_name(group):
    names = {p.stem for p in (CONF / group).glob("*.yaml")}
    takes_data = {n for m in modules(group) for n, f in functions(m).items() if takes_the_same(group, f)}
    assert names == takes_data


def takes_the_same(group: str, function) -> bool:
    """Options of a group take the same data: helpers that a module also holds, such as a normaliser, do not."""
    one = next(iter((CONF / group).glob("*.yaml")))
    module, _, name = OmegaConf.load(one)._target_.rpartition(".")
    return positional(function) == positional(functions(module)[name])


def positional(function) -> list[str]:
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.KEYWORD_ONLY]


@pytest.mark.parametrize("path", OPTIONS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_yaml_holds_exactly_its_functions_options_and_their_defaults(path):
    options = OmegaConf.to_container(OmegaConf.load(path))
    module, _, name = options.pop("_target_").rpartition(".")
    assert name == path.stem
    parameters = inspect.signature(functions(module)[name]).parameters.values()
    known = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert set(options) == set(known)
    for key, default in known.items():
        assert default is inspect.Parameter.empty or options[key] == default, key
    strategy(path.parent.name, OmegaConf.load(path))


def test_every_group_of_the_configuration_is_tested_here():
    assert {p.parent.name for p in OPTIONS} == set(GROUPS)


def node(**options):
    return OmegaConf.create(options)


def test_options_are_bound_and_defaults_kept():
    assert strategy("clip", node(_target_="ppo.control.clip.asymmetric", above=0.5))(0.0, None, None, None) == (
        0.8,
        1.5,
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"_target_": "ppo.control.clip.fixed", "esp": 0.1}, ["clip.esp", "did you mean eps"]),
        ({"_target_": "ppo.control.clip.none", "eps": 0.1}, ["clip.eps", "there is none"]),
        ({"_target_": "ppo.control.clip.fixed", "eps": "much"}, ["clip.eps", "much"]),
        ({"_target_": "ppo.control.clip.fixed", "progress": 0.1}, ["clip.progress", "no such option"]),
        ({"_target_": "ppo.control.clip.fixd"}, ["clip._target_", "ppo.control.clip.fixd"]),
        ({"_target_": "ppo.control.lr.constant"}, ["clip._target_", "no option of clip"]),
        ({"_target_": "os.system"}, ["clip._target_", "no option of clip"]),
        ({"_target_": "ppo.run.checkpoint.os.system"}, ["clip._target_", "no option of clip"]),
        ({"_target_": "ppo.config.options.get_method"}, ["clip._target_", "no option of clip"]),
        ({"eps": 0.1}, ["clip", "no option chosen"]),
    ],
)
def test_a_mistake_in_a_group_is_one_line_that_names_group_and_key(options, words):
    with pytest.raises(ConfigError) as error:
        strategy("clip", node(**options))
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


@pytest.mark.parametrize("word", ["clip=none", "clip=asymmetric", "+experiment=ant_quick", "lr=linear"])
def test_what_a_recipe_says_to_an_option_that_is_not_chosen_is_dropped(config, word):
    """But not what the command line says, nor what no option of the group knows."""
    cfg = config(word)
    for group in ("clip", "lr", "network", "env", "stop"):
        strategy(group, cfg[group])


def test_what_the_command_line_says_to_an_option_that_does_not_know_it_is_refused(config):
    for words in (("clip=none", "clip.eps=0.1"), ("clip=none", "+clip.epsilon=0.1")):
        with pytest.raises(ConfigError, match="no such option"):
            strategy("clip", config(*words).clip)


@pytest.mark.parametrize("method", sorted(p.stem for p in (CONF / "method").glob("*.yaml")))
def test_a_method_goes_with_every_experiment(config, method):
    for experiment in ("ant", "ant_quick", "mujoco", "pendulum"):
        words = [f"+experiment={experiment}", f"+method={method}", "minibatch_size=4"]
        cfg = config(*words)
        check(cfg)
        for group in ("objective", "clip", "penalty"):
            strategy(group, cfg[group])


def test_no_option_at_all_is_refused():
    with pytest.raises(ConfigError, match="no option chosen"):
        strategy("clip", None)


def test_the_defaults_pass(config):
    check(config())


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("minibatch_size=48", "minibatch_size"),
        ("micro_batches=3", "micro_batches"),
        ("workers=5", "workers"),
        ("gamma=1.5", "gamma"),
        ("gamma=nan", "gamma"),
        ("epochs=0", "epochs"),
        ("target_kl=0", "target_kl"),
        ("guard.clamp=100", "guard.clamp"),
        ("lr.value=-1", "lr.value"),
        ("lr.value=nan", "lr.value"),
        ("coef.entropy=-1", "coef.entropy"),
        ("adam.beta2=1.0", "adam.beta2"),
        ("stop=minibatch", "target_kl"),
        ("stop=epoch", "target_kl"),
        ("stop=rollback", "target_kl"),
        ("lr=adaptive_kl", "target_kl"),
        ("clip=adaptive", "target_kl"),
        ("penalty=adaptive", "target_kl"),
    ],
)
def test_fields_that_do_not_fit_are_refused(config, word, key):
    with pytest.raises(ConfigError, match=key) as error:
        check(config(word))
    assert "\n" not in str(error.value)


def test_a_long_name_is_shortened_and_stays_its_own():
    names = [f"lr.value=0.1,{'x' * 300}{i}" for i in range(2)]
    assert short("kl=exact,seed=1") == "kl=exact,seed=1"
    assert all(len(short(name)) == 200 and short(name).startswith("lr.value=0.1,xxx") for name in names)
    assert short(names[0]) != short(names[1])
    assert len(short("é" * 300).encode()) <= 200
