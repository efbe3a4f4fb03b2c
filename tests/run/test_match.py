"""match_kl in a run: what is moved, what is refused, what is said."""

import pytest
import torch

from ppo.config.check import bind
from ppo.config.options import ConfigError
from ppo.run.assemble import assemble


def parts(config, *words):
    found = assemble(config("match_kl=0.01", *words))
    found.envs.close()
    return found


@pytest.mark.parametrize(
    ("words", "moved"),
    [
        (("+method=ppo",), {"clip.eps": 0.2}),
        (("+method=spo",), {"clip.eps": 0.2}),
        (("+method=aspo",), {"clip.eps": 0.2}),
        (("+method=soft",), {"clip.eps": 0.2}),
        (("+method=truly",), {"clip.eps": 0.2}),
        (("+method=dpo",), {"objective.alpha": 2.0, "objective.beta": 0.6}),
        (("+method=penalty", "target_kl=0.01"), {"target_kl": 0.01}),
        (("+method=trpo", "target_kl=0.02"), {"target_kl": 0.02}),
        (("clip=none", "penalty=fixed"), {"penalty.beta": 0.1}),
        (("clip=adaptive", "target_kl=0.01"), {"target_kl": 0.01}),
        (("penalty=fixed",), {"clip.eps": 0.2, "penalty.beta": 0.1}),
        (("objective=dpo", "clip=fixed"), {"objective.alpha": 2.0, "objective.beta": 0.6}),
    ],
)
def test_every_method_has_its_width_and_it_starts_where_the_method_does(config, words, moved):
    assert parts(config, *words).schedule.match.numbers(1.0) == moved


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("clip=none", "match_kl=0.01: nothing here has a width that could be moved; clip=fixed would"),
        ("objective=none", "match_kl=0.01: nothing here has a width that could be moved; clip=fixed would"),
        (
            "objective=none clip=adaptive target_kl=0.01",
            "match_kl=0.01: nothing here has a width that could be moved; clip=fixed would",
        ),
        (
            "stop=minibatch target_kl=0.01",
            "match_kl=0.01: stop=minibatch ends updates at a KL of 0.015 and would hold it as well; stop=none, or a limit "
            "of at least 0.03",
        ),
        ("stop=ratio", "match_kl=0.01: stop=ratio would hold the KL as well; stop=none"),
        ("lr=adaptive_kl target_kl=0.01", "match_kl=0.01: lr=adaptive_kl would move the KL as well; lr=constant"),
        (
            "clip=adaptive clip.fraction=0.1 penalty=fixed",
            "match_kl=0.01: clip.fraction would move the KL as well; clip=fixed",
        ),
    ],
)
def test_a_second_hand_on_the_wheel_is_refused(config, words, said):
    with pytest.raises(ConfigError) as error:
        parts(config, *words.split())
    assert str(error.value) == said


def test_a_stop_far_above_is_a_safety_net(config):
    bind(config("match_kl=0.01", "stop=minibatch", "target_kl=0.02"))


def test_the_width_that_is_logged_is_the_one_that_was_used_and_the_mean_is_that_of_the_rows(trained):
    rows, _ = trained("match_kl=0.001", "env.task=target", "total_steps=640")
    kls = [row["kl/final"] for row in rows]
    assert len(rows) == 5 and {row["match/target"] for row in rows} == {0.001}
    assert [row["match/knob"] for row in rows] == pytest.approx([row["clip/high"] - 1 for row in rows])
    assert [row["match/reached"] for row in rows] == pytest.approx([sum(kls[: i + 1]) / (i + 1) for i in range(5)])
    assert rows[1]["match/knob"] != rows[0]["match/knob"] == pytest.approx(0.2)


def test_a_width_within_the_step_is_data_of_the_step(config):
    """So that nothing is compiled anew; and the gradient is that of the option with the other numbers."""
    dpo = parts(config, "+method=dpo")
    chosen = dpo.schedule(dpo.schedule.start(), dpo.start.seen, 0)
    knobs = dpo.knobs(chosen._replace(match=chosen.match._replace(scale=0.5)))
    assert {name: x.item() for name, x in knobs.width.items()} == pytest.approx(
        {"objective.alpha": 1.0, "objective.beta": 0.3}
    )
    objective = config("objective=dpo", "objective.alpha=1.0", "objective.beta=0.3")
    narrow, plain = bind(objective)["objective"], bind(config("objective=dpo"))["objective"]
    given = (torch.tensor([1.0, -2.0]), torch.tensor([2.0, -3.0]), torch.tensor(0.0), torch.tensor(9.0))
    torch.testing.assert_close(plain(*given, **knobs.of("objective")), narrow(*given))
    assert not torch.equal(plain(*given), narrow(*given))


@pytest.mark.slow
def test_a_target_that_no_width_reaches_is_said_once(trained, capsys):
    rows, _ = trained("match_kl=5", "env.task=target", "total_steps=2048")
    assert rows[-1]["match/at_bound"] == 1 and rows[0]["match/at_bound"] == 0
    assert capsys.readouterr().out.count("match_kl=5 is out of reach: clip.eps=3 is as far as it may go") == 1


def test_without_it_a_run_has_no_such_rows(trained):
    rows, tensors = trained()
    assert not [name for name in (*rows[0], *tensors) if "match" in name]
