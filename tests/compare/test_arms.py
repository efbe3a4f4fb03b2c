"""Which runs form an arm, which arms are compared, and what refuses to be compared."""

import json

import pytest

from ppo.compare.arms import group, pairs
from ppo.compare.compare import compare
from ppo.compare.load import load
from ppo.compare.trial import CompareError


def refusal(paths, **options) -> str:
    with pytest.raises(CompareError) as caught:
        compare(load(paths), **options)
    return str(caught.value)


def test_arms_are_named_by_option_and_by_key(run_folder):
    folders = [run_folder([1.0], kl="k1", **{"lr.value": 0.5}), run_folder([1.0], seed=2)]
    arms = group(load(folders), ["kl", "lr.value", "target_kl"])
    assert list(arms) == ["kl=k1,lr.value=0.5,target_kl=null", "kl=exact,lr.value=0.001,target_kl=null"]


@pytest.mark.parametrize(
    "by, names",
    [
        ("kll", ["--by kll", "did you mean kl?"]),
        ("lr.valu", ["--by lr.valu", "did you mean value?"]),
        ("seed", ["--by seed", "repetitions"]),
        ("env", ["--by env", "compared apart"]),
    ],
)
def test_what_is_no_factor_is_refused(run_folder, by, names):
    line = refusal([run_folder([1.0])], by=[by])
    assert all(name in line for name in names) and "\n" not in line


LABELS = [f"kl={kl},norm={norm}" for kl in ("exact", "k1") for norm in ("none", "group")]


def test_without_a_baseline_every_two_arms_are_compared():
    assert len(pairs(LABELS, None)) == 6


def test_a_baseline_of_one_factor_is_matched_in_the_others():
    assert pairs(LABELS, "norm=none") == [
        ("kl=exact,norm=group", "kl=exact,norm=none"),
        ("kl=k1,norm=group", "kl=k1,norm=none"),
    ]


def test_a_baseline_of_all_factors_is_one_arm():
    assert [b for _, b in pairs(LABELS, "kl=exact,norm=none")] == ["kl=exact,norm=none"] * 3
    assert [b for _, b in pairs(LABELS, "norm=none,kl=exact")].count("kl=exact,norm=none") == 3


def test_a_comma_within_a_list_separates_nothing():
    labels = ["network.actor=[64,64],kl=k1", "network.actor=[8],kl=k1"]
    assert pairs(labels, "network.actor=[64,64]") == [(labels[1], labels[0])]


def test_an_unknown_baseline_lists_what_there_is():
    with pytest.raises(CompareError, match="norm=non: no such arm; there are kl=exact,norm=none"):
        pairs(LABELS, "norm=non")


@pytest.mark.parametrize(
    "change, key",
    [
        ({"lr.value": 0.1}, "lr.value (0.001 | 0.1)"),
        ({"clip.eps": 0.4}, "clip.eps (0.2 | 0.4)"),
        ({"norm": "group"}, "norm._target_"),
        ({"commit": "bad"}, 'git.commit ("c0ffee" | "bad")'),
        ({"versions": {"torch": "2.14"}}, 'versions.torch ("2.13.0" | "2.14")'),
    ],
)
def test_arms_that_differ_in_more_than_declared_are_refused(run_folder, change, key):
    folders = [run_folder([1.0], name="a"), run_folder([2.0], name="b", kl="k1", **change)]
    line = refusal(folders, by=["kl"])
    assert key in line and "Toy-v0" in line and "--allow" in line and "\n" not in line


def test_a_package_installed_between_two_runs_is_no_difference(run_folder):
    more = {"torch": "2.13.0", "onnx": "1.23.2"}
    folders = [run_folder([1.0], name="a"), run_folder([2.0], name="b", kl="k1", versions=more)]
    assert compare(load(folders), by=["kl"]).verdict["pairs"]
    with pytest.raises(CompareError, match="versions.torch"):
        compare(load([*folders, run_folder([2.0], name="c", seed=2, versions={"torch": "2.14"})]), by=["kl"])


def test_another_version_of_a_users_own_code_is_refused_and_one_that_is_not_known_is_none(run_folder):
    folders = [
        run_folder([1.0], name="a", own={"mine": "aa"}),
        run_folder([2.0], name="b", kl="k1", own={"mine": "bb"}),
    ]
    assert 'own.mine ("aa" | "bb")' in refusal(folders, by=["kl"])
    assert compare(load(folders), by=["kl"], allow=["own"]).verdict["pairs"]
    earlier = run_folder([2.0], name="c", kl="k1")  # of a version that did not note it
    assert compare(load([folders[0], earlier]), by=["kl"]).verdict["pairs"]
    (file,) = folders[0].glob("run.json")
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"resumed": [{"update": 1, "own": {"mine": "00"}}]}))
    assert load([folders[0]])[0].code["own.mine"] == "00, then aa"


def test_of_a_resumed_run_every_attempt_counts(run_folder):
    """Its first updates may be of other code; and what can be given again is the command that began it."""
    folder, other = run_folder([1.0], kl="k1"), run_folder([1.0], name="other")
    file = folder / "run.json"
    about = json.loads(file.read_text())
    earlier = {"update": 1, "git": {"commit": "before", "dirty": True}, "command": "python -m ppo.train seed=1"}
    file.write_text(json.dumps(about | {"resumed": [earlier], "command": f"python -m ppo.train resume={folder}"}))
    (trial,) = load([folder])
    assert trial.code["git.commit"] == "before, then c0ffee" and trial.code["git.dirty"] is True
    assert trial.command == "python -m ppo.train seed=1"
    assert "git.commit" in refusal([folder, other], by=["kl"])


def test_every_differing_key_is_named(run_folder):
    folders = [run_folder([1.0], name="a"), run_folder([1.0], name="b", kl="k1", norm="group", commit="bad")]
    assert all(key in refusal(folders, by=["kl"]) for key in ("norm._target_", "git.commit"))


def test_what_is_allowed_is_noted(run_folder):
    folders = [run_folder([1.0], name="a"), run_folder([1.0], name="b", kl="k1", commit="bad", versions={"torch": "1"})]
    assert "versions.torch" in refusal(folders, by=["kl"], allow=["git.commit"])
    notes = compare(load(folders), by=["kl"], allow=["git", "versions"]).verdict["notes"]
    assert any("git.commit" in note for note in notes) and any("versions.torch" in note for note in notes)


def test_a_factor_does_not_explain_a_difference_within_its_arm(run_folder):
    """Two clip ranges in the arm clip=fixed: the mean of both is nobody's result."""
    folders = [
        run_folder([1.0], name="a"),
        run_folder([1.0], name="b", seed=2, **{"clip.eps": 0.3}),
        run_folder([1.0], name="c", clip="none"),
    ]
    assert "clip.eps (0.2 | 0.3)" in refusal(folders, by=["clip"])
    assert len(compare(load(folders), by=["clip", "clip.eps"]).envs["Toy-v0"]) == 3


def test_seed_and_logger_may_differ(run_folder):
    folders = [run_folder([1.0], name="a"), run_folder([1.0], name="b", kl="k1", seed=7, logger="wandb")]
    assert compare(load(folders), by=["kl"]).verdict["notes"] == []


def test_environments_have_their_own_recipes(run_folder):
    """Another task may have another learning rate: only within an environment must all be equal."""
    toy = [run_folder([1.0], name=f"a{kl}", kl=kl) for kl in ("exact", "k1")]
    other = {"env.id": "Other-v0", "lr.value": 0.1}
    folders = toy + [run_folder([1.0], name=f"b{kl}", kl=kl, **other) for kl in ("exact", "k1")]
    assert {row["env"] for row in compare(load(folders), by=["kl"]).verdict["pairs"]} == {"Toy-v0", "Other-v0"}


def test_a_seed_that_finished_twice_is_not_more_evidence(run_folder):
    folders = [run_folder([1.0], name="a"), run_folder([1.0], name="b")]
    assert "seed 1 finished twice" in refusal(folders, by=["kl"])


def test_a_seed_that_was_run_again_counts_once(run_folder):
    folders = [
        run_folder([1.0], name="a", status="failed"),
        run_folder([3.0], name="b"),
        run_folder([1.0], name="c", seed=2),
    ]
    verdict = compare(load(folders), by=["kl"]).verdict
    row = verdict["arms"][0]
    assert (row["n"], row["failed"], row["mean"]) == (2, 0, 2.0) and "was run again" in verdict["notes"][0]
