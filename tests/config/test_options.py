"""Groups and their functions, and what is refused before a run exists."""

import importlib
import inspect
import keyword
import sys
from typing import Annotated, get_args, get_origin

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from ppo.config.check import bind
from ppo.config.options import ConfigError, option, parameters, short, strategy, yamls
from ppo.config.schema import CONF, GROUPS, ranges, scalars

OPTIONS = {(group, name): said for group in GROUPS for name, said in yamls(group).items()}


def named(function) -> str:
    """The name by which a function is an option: ``global_`` is that of ``norm=global``."""
    name = function.__name__
    return name[:-1] if name[-1] == "_" and keyword.iskeyword(name[:-1]) else name


def functions(module: str) -> dict:
    """The public functions that a module defines itself, by the name they are known by."""
    found = vars(importlib.import_module(module)).values()
    return {named(f): f for f in found if inspect.isfunction(f) and f.__module__ == module and f.__name__[0] != "_"}


def positional(function) -> list[str]:
    """Its data; but for the device, which only worlds that live on one are told."""
    every = inspect.signature(function).parameters.values()
    return [p.name for p in every if p.kind is not p.KEYWORD_ONLY and p.name != "device"]


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_has_one_yaml_for_each_function_and_of_the_same_name(group):
    """The options of a group take the same data; helpers that a module also holds, such as a normaliser, do not."""
    targets = [said["_target_"].rpartition(".") for said in yamls(group).values()]
    assert [name for _, _, name in targets] == list(yamls(group))
    everything = {module: functions(module) for module, _, _ in targets}
    module, _, name = targets[0]
    data = positional(everything[module][name])
    assert {n for f in everything.values() for n, function in f.items() if positional(function) == data} == {
        *yamls(group)
    }


@pytest.mark.parametrize(("group", "name"), OPTIONS, ids="-".join)
def test_the_options_of_a_function_stand_in_its_yaml_with_their_defaults_and_nowhere_else(group, name):
    bound = strategy(group, OmegaConf.create(OPTIONS[group, name]))
    known = parameters(bound.func)
    assert set(known) == set(OPTIONS[group, name]) - {"_target_"}
    assert [key for key, p in known.items() if p.default is not p.empty] == []


SHARING = [["mlp", "initial", "npz", "gym"], ["gsde", "checkpoint", "minari"], ["state_std"], ["categorical"]]


@pytest.mark.parametrize("names", SHARING, ids="-".join)
def test_the_yamls_are_read_as_hydra_reads_them(config, names):
    """Those that take in others, which Hydra does by its own rules."""
    chosen = dict(zip(("network", "reference", "demo", "env"), names))
    plain = ("network.actor=[64,64]", "network.critic=[64,64]")  # what the tests take instead, undone
    composed = OmegaConf.to_container(config(*(f"{group}={name}" for group, name in chosen.items()), *plain))
    assert {group: composed[group] for group in chosen} == {group: yamls(group)[chosen[group]] for group in chosen}


def without_range(annotation) -> bool:
    """Whether a number in it may be any at all. (What may be is so said: ``IsFinite[float]``.)"""
    if get_origin(annotation) is Annotated:
        return False
    return annotation in (int, float) or any(map(without_range, get_args(annotation)))


def test_every_number_has_a_range():
    numbers = {(key,): annotation for key, annotation in ranges()}
    for group, name in OPTIONS:
        known = parameters(option(group, name).func)
        numbers |= {(group, name, key): p.annotation for key, p in known.items()}
    assert [key for key, annotation in numbers.items() if without_range(annotation)] == []
    assert without_range(float | None) and without_range(list[int]) and not without_range(bool)


def test_the_scalars_stand_in_the_base_configuration_with_their_values_and_in_the_schema_with_their_ranges():
    values = OmegaConf.create(scalars())
    missing = object()
    assert [key for key, _ in ranges() if OmegaConf.select(values, key, default=missing) is missing] == []
    assert {key.split(".")[0] for key, _ in ranges()} == set(scalars())
    assert OmegaConf.load(CONF / "config.yaml").keys() - scalars().keys() - {*GROUPS} == {"defaults", "hydra"}


def test_what_several_options_share_is_offered_as_none_of_them(config):
    assert set(yamls("network")) == {"mlp", "gsde", "state_std", "categorical", "gru", "lstm"}
    assert [path.name for path in CONF.rglob("*.yaml") if path.name.startswith("_")] == []


def node(**options):
    return OmegaConf.create(options)


def test_what_is_left_out_has_the_value_of_the_yaml():
    bound = strategy("network", node(_target_="ppo.network.gsde.gsde", actor=[8]))
    assert bound.keywords == {**option("network", "gsde").keywords, "actor": [8]}
    assert bound.keywords["log_std"] == -2.0 and bound.keywords["critic"] == [64, 64]


def test_an_option_without_hydra_is_checked_as_on_the_command_line():
    assert option("env", "gym", id="CartPole-v1", kwargs={"x": 1}).keywords["kwargs"] == {"x": 1}
    for group, name, given, said in (
        ("network", "gdse", {}, "network=gdse: no such option; did you mean gsde?"),
        ("network", "gsde", {"resample": 0}, "network.resample=0: must be at least 1"),
        ("network", "gsde", {"acto": [1]}, "network.acto: network=gsde has no such option; did you mean actor?"),
    ):
        with pytest.raises(ConfigError) as error:
            option(group, name, **given)
        assert str(error.value) == said


def test_a_function_of_a_trusted_package_has_its_own_defaults_and_ranges(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\n"
        "from typing import Annotated\n"
        "from annotated_types import Gt\n"
        "def halved(action, space, *, by: Annotated[float, Gt(0)] = 2.0, anything=None):\n    return action / by\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    bound = strategy("action", node(_target_="mine.halved"), trust=["mine"])
    sys.modules.pop("mine")
    assert bound(1.0, None) == 0.5 and bound.keywords == {"by": 2.0, "anything": None}
    with pytest.raises(ConfigError, match="action.by=0.0: must be a positive number"):
        strategy("action", node(_target_="mine.halved", by=0), trust=["mine"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"_target_": "ppo.control.clip.fixed", "esp": 0.1}, ["clip.esp", "did you mean eps"]),
        ({"_target_": "ppo.control.clip.none", "eps": 0.1}, ["clip.eps", "there is none"]),
        ({"_target_": "ppo.control.clip.fixed", "eps": "much"}, ["clip.eps", "much"]),
        ({"_target_": "ppo.control.clip.fixed", "eps": -1}, ["clip.eps=-1.0", "positive"]),
        ({"_target_": "ppo.control.clip.fixed", "eps": "???"}, ["clip", "eps"]),
        ({"_target_": "ppo.control.clip.fixed", 7: 7}, ["clip.7", "no such option"]),
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
        strategy("clip", OmegaConf.create(options))
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


@pytest.mark.parametrize("word", ["clip=none", "clip=asymmetric", "+experiment=ant_quick", "lr=linear"])
def test_what_a_recipe_says_to_an_option_that_is_not_chosen_is_dropped(config, word):
    """But not what the command line says, nor what no option of the group knows."""
    cfg = config(word)
    for group in ("clip", "lr", "network", "env", "stop"):
        strategy(group, cfg[group])


def test_what_the_command_line_says_to_an_option_that_does_not_know_it_is_refused(config):
    for words in (("clip=none", "+clip.eps=0.1"), ("clip=none", "+clip.epsilon=0.1")):
        with pytest.raises(ConfigError, match="no such option"):
            strategy("clip", config(*words).clip)


@pytest.mark.parametrize("method", sorted(p.stem for p in (CONF / "method").glob("*.yaml")))
def test_a_method_goes_with_every_experiment(config, method):
    own = OmegaConf.load(CONF / "method" / f"{method}.yaml").target_kl  # which the words of ``config`` would take away
    for experiment in ("ant", "ant_quick", "cleanrl", "mujoco", "pendulum"):
        bind(config(f"+experiment={experiment}", f"+method={method}", "minibatch_size=4", f"target_kl={own or 'null'}"))


def test_no_option_at_all_is_refused():
    for nothing in (None, 7, [], {}, "exact"):
        with pytest.raises(ConfigError, match="no option chosen"):
            strategy("clip", nothing)


def test_the_defaults_pass(config):
    assert set(bind(config())) == set(GROUPS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("minibatch_size=48", "minibatch_size=48: must divide num_envs * num_steps = 4 * 32 = 128"),
        ("micro_batches=3", "micro_batches=3: must divide minibatch_size=32"),
        ("workers=5", "workers=5: must be below num_envs=4"),
        ("workers=many", "workers=many: must be a number or auto"),
        ("threads=0", "threads=0: must be at least 1"),
        ("compile=maybe", "compile=maybe: must be true, false or auto"),
        ("gamma=1.5", "gamma=1.5: must lie in [0, 1]"),
        ("gamma=nan", "gamma=nan: must lie in [0, 1]"),
        ("epochs=0", "epochs=0: must be at least 1"),
        ("target_kl=0", "target_kl=0.0: must be a positive number"),
        ("target_kl=inf", "target_kl=inf: must be a finite number"),
        ("seed=-1", "seed=-1: must not be negative"),
        ("guard.clamp=100", "guard.clamp=100.0: must be at most 80"),
        ("on_nonfinite=ignore", "on_nonfinite=ignore: must be one of stop, skip, rollback"),
        ("lr.value=-1", "lr.value=-1.0: must be a positive number"),
        ("lr.value=nan", "lr.value=nan: must be a positive number"),
        ("norm=ema norm.decay=2", "norm.decay=2.0: must lie in [0, 1]"),
        ("coef.entropy=-1", "coef.entropy=-1.0: must not be negative"),
        ("adam.beta2=1.0", "adam.beta2=1.0: must lie in [0, 1)"),
        ("network.actor=[64,0]", "network.actor=[64, 0]: must be at least 1"),
        ("network.log_std=inf", "network.log_std=inf: must be a finite number"),
        ("env=arachne env.variants=[]", "env.variants=[]: must not be empty"),
        ("logger=wandb logger.mode=onlin", "logger.mode=onlin: must be one of auto, online, offline, disabled"),
        ("stop=minibatch", "target_kl=null: stop=minibatch needs one"),
        ("stop=epoch", "target_kl=null: stop=epoch needs one"),
        ("stop=rollback", "target_kl=null: stop=rollback needs one"),
        ("lr=adaptive_kl", "target_kl=null: lr=adaptive_kl needs one"),
        ("lr=adaptive_kl_step", "target_kl=null: lr=adaptive_kl_step needs one"),
        (
            "lr=adaptive_kl_step target_kl=0.01 stop=minibatch",
            "lr.tolerance=2.0: stop=minibatch takes no step beyond 1.5 x target_kl, so the rate could only rise; stop=none",
        ),
        ("clip=adaptive", "target_kl=null: clip=adaptive needs one"),
        ("penalty=adaptive", "target_kl=null: penalty=adaptive needs one"),
        (
            "objective=trpo target_kl=0.01 outer=step",
            "outer=step: objective=trpo goes as far as its KL allows, and an outer step would go on; outer=none",
        ),
        (
            "lr=adaptive_kl_step target_kl=0.01 stop=rollback",
            "stop=rollback: an epoch that is undone takes the rate's falls with it; stop=none",
        ),
        (
            "objective=trpo target_kl=0.01 lr=adaptive_kl stop=none",
            "lr=adaptive_kl: objective=trpo moves the policy after the minibatches, of whose KL the rate would know nothing",
        ),
        (
            "objective=trpo target_kl=0.01 lr=adaptive_kl_step stop=none",
            "lr=adaptive_kl_step: objective=trpo moves the policy after the minibatches, of whose KL the rate would know nothing",
        ),
        (
            "objective=vmpo clip=none target_kl=0.01 stop=rollback",
            "stop=rollback: an epoch that is undone takes the rises of the multipliers with it, and none of their falls",
        ),
        ("value=quantile value.quantiles=1", "value.quantiles=1: must be at least 2"),
        ("objective=trpo target_kl=0.01 demo=npz", "demo=npz: objective=trpo takes no demonstrations"),
    ],
)
def test_fields_that_do_not_fit_are_refused(config, words, said):
    with pytest.raises(ConfigError) as error:
        bind(config(*words.split()))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_hole_that_the_clip_fraction_fills_needs_no_target(config):
    assert bind(config("clip=adaptive", "clip.fraction=0.2"))["clip"].keywords["fraction"] == 0.2


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_an_open_dictionary_takes_new_keys_with_or_without_a_plus(config, sign):
    cfg = config("env=gym", f"{sign}env.kwargs.g=1.0", f"{sign}env.kwargs.deep.er=2", f"{sign}doctor.thresholds.a.b=3")
    assert cfg.env.kwargs == {"g": 1.0, "deep": {"er": 2}} and cfg.doctor.thresholds == {"a": {"b": 3}}
    with pytest.raises(ConfigCompositionException, match="env.kwarg"):
        config("env=gym", "env.kwarg.g=1")


def test_a_long_name_is_shortened_and_stays_its_own():
    names = [f"lr.value=0.1,{'x' * 300}{i}" for i in range(2)]
    assert short("kl=exact,seed=1") == "kl=exact,seed=1"
    assert all(len(short(name)) == 200 and short(name).startswith("lr.value=0.1,xxx") for name in names)
    assert short(names[0]) != short(names[1])
    assert len(short("é" * 300).encode()) <= 200


@pytest.mark.parametrize(
    ("name", "body", "told"),
    [
        ("no_library", "import no_such_library", "No module named 'no_such_library'"),
        ("no_driver", "raise OSError('no driver')", "OSError: no driver"),
    ],
)
def test_a_module_that_cannot_be_imported_says_what_it_lacks(tmp_path, monkeypatch, name, body, told):
    (tmp_path / name).mkdir()
    (tmp_path / name / "inner.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    inner = f"{name}.inner.make"
    for group, words in (
        ("env", {"_target_": "envs.vecenv.vecenv", "make": inner}),
        ("env", {"_target_": "envs.gym.gym", "wrappers": [{"_target_": inner}]}),
        ("kl", {"_target_": inner}),
    ):
        with pytest.raises(ConfigError, match=told):
            strategy(group, words, (name,))


def test_a_function_is_given_by_its_name_in_a_package_that_is_trusted():
    def said(make, trust=("json", "math")):
        return strategy("env", {"_target_": "envs.vecenv.vecenv", "make": make}, trust).keywords["make"]

    assert said("json.loads") is importlib.import_module("json").loads and said(None) is None
    for make, words in (
        ("shutil.rmtree", r"^env.make=shutil.rmtree: to call a function of a package of your own: trust=\[shutil\]$"),
        ("loads", "PACKAGE.FUNCTION$"),
        ("json.nope", "^env.make: there is no 'json.nope' .AttributeError: .*nope"),
        ("math.pi", "is of type float, not a function"),
    ):
        with pytest.raises(ConfigError, match=words):
            said(make)
    with pytest.raises(ConfigError, match="env.make"):
        said(3.5)
