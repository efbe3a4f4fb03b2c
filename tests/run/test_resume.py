"""A run that was cut off goes on bit for bit, whatever cut it off; and what cannot, says so."""

import json
import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import gymnasium
import pytest
import torch

import ppo.train
from envs.base import WorkerLost
from ppo import cli
from ppo.buffer.rewards import RewardScale
from ppo.config.options import ConfigError, plain
from ppo.logging import jsonl
from ppo.logging.base import Run
from ppo.run import checkpoint
from ppo.run.folder import check_same, hold
from ppo.run.launch import restarting
from ppo.train import train
from tests.envs.toy import Restless

SPEED = ("time/", "speed/")  # what a clock says
PENDULUM = ("env=gym", "env.id=Pendulum-v1", "action=tanh", "normalise.obs=true", "normalise.reward=true")
ADAPTIVE = ("lr=adaptive_kl", "stop=rollback", "target_kl=0.01", "clip=linear", "norm=group", "lr.value=1e-2")
MATCHED = ("+method=dpo", "match_kl=0.01")
BY_STEP = ("lr=adaptive_kl_step", "target_kl=0.01")
VMPO = ("+method=vmpo",)
OUTER = ("outer=step", "outer.momentum=0.5")
LONG = ("total_steps=640", "eval.every=256", "checkpoint.every=256")  # five updates


class Cut(Exception):
    """The run was cut off here."""


@pytest.fixture
def go(config, tmp_path, monkeypatch):
    """Train by command-line words in the folder of that name; ``cut``: be cut off in that many updates from now."""
    original = ppo.train.update

    def run(*words: str, name: str, cut: int | None = None) -> float | None:
        calls = 0

        def update(*args, **options):
            nonlocal calls
            calls += 1
            if calls == cut:
                raise Cut
            return original(*args, **options)

        monkeypatch.setattr(ppo.train, "update", update)
        try:
            return train(config(*words), Run(tmp_path / name, name, {}))
        except Cut:
            return None

    return run


def result(folder):
    """(the rows without what a clock says, the tensors and the numbers of the checkpoint) of a run."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    tensors, meta = checkpoint.load(checkpoint.find(folder))
    return [{k: v for k, v in row.items() if not k.startswith(SPEED)} for row in rows], tensors, meta["progress"]


def assert_same(one, other):
    rows, tensors, progress = result(one)
    rows_too, tensors_too, progress_too = result(other)
    assert rows == rows_too and progress == progress_too
    assert set(tensors) == set(tensors_too)
    assert all(torch.equal(tensors[name], tensors_too[name]) for name in tensors)
    assert {p.name for p in one.glob("checkpoints/*")} == {p.name for p in other.glob("checkpoints/*")}


@pytest.mark.parametrize(
    "words",
    [(), MATCHED, *(pytest.param(words, marks=pytest.mark.slow) for words in (ADAPTIVE, BY_STEP, OUTER, VMPO))],
    ids=["plain", "matched", "adaptive", "by step", "outer", "vmpo"],
)
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(go, tmp_path, words):
    """Network, optimiser, statistics, schedules, random numbers, episodes and evaluations: the last number of all."""
    whole = go(*PENDULUM, *words, *LONG, name="whole")
    for cut in (1, 3, 2, None):  # before anything was done, after two updates, after one more
        parts = go(*PENDULUM, *words, *LONG, name="parts", cut=cut)
    assert parts == whole
    assert_same(tmp_path / "whole", tmp_path / "parts")
    (seed_episodes, *_) = json.loads(result(tmp_path / "parts")[1]["envs"].numpy().tobytes())
    assert len(seed_episodes["actions"]) > 0  # the cuts fell into running episodes


@pytest.mark.slow
def test_the_number_of_workers_may_change_on_the_way(go, tmp_path):
    go(*PENDULUM, *LONG, name="whole")
    for workers, cut in ((0, 3), (2, 2), (1, None)):
        go(*PENDULUM, *LONG, f"workers={workers}", name="parts", cut=cut)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_what_steps_a_mujoco_robot_may_change_on_the_way(go, tmp_path, monkeypatch):
    """C of our own, gymnasium's Python, C again; and neither changes a number of a run."""
    pytest.importorskip("mujoco")
    share = pytest.importorskip("envs.mujoco.share")
    words = ("env=mujoco", "env.id=Hopper-v5", "normalise.obs=true", "normalise.reward=true", *LONG)
    library, step, calls = share.load(share._SOURCE), share.Robots.step, []
    if library is None:
        pytest.skip("no C compiler")
    monkeypatch.setattr(share.Robots, "step", lambda self: calls.append(self) or step(self))

    go(*words, name="whole")
    for there, cut in ((library, 3), (None, 2), (library, None)):
        monkeypatch.setattr(share, "load", lambda source, there=there: there)
        before = len(calls)
        go(*words, name="parts", cut=cut)
        assert (len(calls) > before) == (there is not None)
    monkeypatch.setattr(share, "load", lambda source: None)
    go(*words, name="gymnasium's")
    assert_same(tmp_path / "whole", tmp_path / "parts")
    assert_same(tmp_path / "whole", tmp_path / "gymnasium's")


def test_a_larger_total_goes_on_and_the_clock_too(go, tmp_path):
    go("total_steps=256", name="run")
    before = jsonl.read(tmp_path / "run" / "metrics.jsonl")
    go("total_steps=512", name="run")
    rows = jsonl.read(tmp_path / "run" / "metrics.jsonl")
    assert rows[:2] == before and [row["update"] for row in rows] == [1, 2, 3, 4]
    assert rows[2]["time/wall"] > rows[1]["time/wall"] > 0


def test_rows_after_the_checkpoint_are_written_once(go, tmp_path):
    """A run killed between a row and its checkpoint has both: the row, and in front of it the update to do again."""
    go(*LONG, name="whole")
    go(*LONG, name="parts", cut=4)
    rows = tmp_path / "parts" / "metrics.jsonl"
    ahead = (tmp_path / "whole" / "metrics.jsonl").read_bytes().splitlines(True)[3]
    rows.write_bytes(rows.read_bytes() + ahead + ahead[:20])
    go(*LONG, name="parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_row_torn_while_its_evaluation_was_added_is_written_again(go, tmp_path, capsys):
    """Its checkpoint is whole, but the one before has a whole row too."""
    go(*LONG, name="whole")
    go(*LONG, name="parts", cut=3)
    rows = tmp_path / "parts" / "metrics.jsonl"
    rows.write_bytes(rows.read_bytes()[:-20])
    go(*LONG, name="parts")
    assert "metrics.jsonl lacks update 2" in capsys.readouterr().err
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_larger_total_that_makes_a_schedule_jump_says_so(go, tmp_path, capsys):
    go("lr=linear", "clip=linear", name="run")
    go("lr=linear", "clip=linear", "total_steps=512", name="run")
    said = "total_steps was 256 and is 512, so schedules jump: lr 0.0005 -> 0.0005, clip/low"
    assert said not in capsys.readouterr().out
    go("lr=linear", "clip=linear", "total_steps=1024", name="run")
    assert (
        "resumes after update 4; total_steps was 512 and is 1,024, so schedules jump: lr 0.00025 -> 0.0005, clip/"
        in (capsys.readouterr().out)
    )
    go(*ADAPTIVE, "clip=fixed", name="adapts")
    go(*ADAPTIVE, "clip=fixed", "total_steps=512", name="adapts")
    assert "jump" not in capsys.readouterr().out


def test_another_run_starts_from_the_statistics_of_this_one(go, tmp_path, capsys):
    """Its critic predicts in the unit of their rewards; with another number of environments, too."""
    words = ("env.task=target", "normalise.obs=true", "eval.episodes=0")
    go(*words, "normalise.reward=true", name="run")
    init = f"init={tmp_path / 'run'}"
    go(*words, "normalise.reward=true", init, "num_envs=8", "minibatch_size=64", name="new")
    old, new = (checkpoint.load(checkpoint.find(tmp_path / name))[0] for name in ("run", "new"))
    for name in ("obs_moments.count", "reward_scale.moments.count"):
        assert (old[name], new[name]) == (256, 512)
    assert "another scale" not in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"was trained with network.std_type=log"):  # else read as deviations
        go(*words, init, "network.std_type=scalar", name="scalar")
    go(*words, init, name="raw")
    assert (
        "was trained with normalise.reward=true: its critic predicts returns of another scale"
        in capsys.readouterr().err
    )


def test_layers_of_other_sizes_with_as_many_parameters_are_not_taken(go, tmp_path):
    """Actor and critic swapped: the flat vector fits, and means something else."""
    words = ("env.task=target", "eval.episodes=0")
    go(*words, "network.actor=[8]", "network.critic=[16]", name="run")
    with pytest.raises(ConfigError, match=r"was trained with network.actor=\[8\]"):
        go(*words, "network.actor=[16]", "network.critic=[8]", f"init={tmp_path / 'run'}", name="new")


def test_a_policy_that_the_first_step_would_throw_is_not_taken(go, tmp_path):
    """Its deviation is below the floor of the new run: to be moved there is no step of a trust region."""
    words = ("env.task=target", "eval.episodes=0")
    go(*words, "network.log_std=-2.5", "network.log_std_min=-10", name="run")
    init = f"init={tmp_path / 'run'}"
    with pytest.raises(ConfigError, match=r"log_std reaches -2\.\d+, below -1,.* network.log_std_min=-10"):
        go(*words, init, "network.log_std_min=-1", name="new")
    go(*words, init, "network.log_std_min=-10", name="new")


def test_a_policy_of_another_map_from_action_to_world_is_not_taken(go, tmp_path):
    """tanh of a number is another action than the number."""
    words = ("env.task=target", "eval.episodes=0")
    go(*words, "action=tanh", name="run")
    run = tmp_path / "run"
    for taken in (f"init={run}", f"reference.run={run}"):
        reference = ("reference=checkpoint",) if "reference" in taken else ()
        with pytest.raises(ConfigError, match="was trained with action.*tanh"):
            go(*words, *reference, taken, "action=clip", name="new")


def test_a_checkpoint_is_for_whoever_may_read_the_run(go, tmp_path):
    """As the other files of it: by the umask."""
    go(name="run", cut=1)
    modes = {(tmp_path / "run" / name).stat().st_mode for name in ("metrics.jsonl", "checkpoints/latest.safetensors")}
    assert len(modes) == 1


def test_a_run_resumes_without_the_one_that_it_started_from(go, tmp_path):
    """Its own checkpoint has all of it, also where it is the reference."""
    words = ("env.task=target", "eval.episodes=0")
    go(*words, name="taught")
    init = (*words, f"init={tmp_path / 'taught'}")
    pulled = (*init, "reference=initial")
    go(*init, name="whole"), go(*init, name="parts", cut=2)
    go(*pulled, name="pulled whole"), go(*pulled, name="pulled parts", cut=2)
    shutil.rmtree(tmp_path / "taught")
    go(*init, name="parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")
    go(*pulled, name="pulled parts")
    assert_same(tmp_path / "pulled whole", tmp_path / "pulled parts")


@pytest.mark.parametrize("kind", ["initial", "checkpoint"])
def test_a_reference_stays_what_it_was_when_its_own_run_goes_on(go, tmp_path, kind):
    """Two runs that share a teacher are comparable whenever they are resumed. Its held-out states are its own, too."""
    teacher = ("env.task=target", "eval.episodes=0", "normalise.obs=true", "lr.value=0.01")
    go(*teacher, name="teacher")
    of = {"initial": f"init={tmp_path / 'teacher'}", "checkpoint": f"reference.run={tmp_path / 'teacher'}"}[kind]
    words = (*teacher, f"reference={kind}", of, "reference.coef=0.1", "reference.held_out=16")
    go(*words, name="whole"), go(*words, name="parts", cut=2)
    go(*teacher, "total_steps=1024", name="teacher")
    go(*words, name="parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_run_resumes_without_the_one_that_its_reference_was_read_from(go, tmp_path):
    """Its own checkpoint has what that policy was trained with, too."""
    teacher = ("env.task=target", "eval.episodes=0", "normalise.obs=true", "lr.value=0.01")
    go(*teacher, "network.actor=[8]", "normalise.clip_obs=2", name="teacher")
    taught = ("reference=checkpoint", f"reference.run={tmp_path / 'teacher'}", "reference.held_out=16")
    go(*teacher, *taught, name="whole"), go(*teacher, *taught, name="parts", cut=2)
    shutil.rmtree(tmp_path / "teacher")
    go(*teacher, *taught, name="parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_deviation_at_its_bound_can_be_started_from_and_one_beyond_is_named(trained, finished):
    """0.1 in float32, as the step projects it, is a little more than 0.1."""
    at, lower = ("network.log_std=0.1", "network.log_std_max=0.1"), ("network.log_std=-0.5", "network.log_std_max=0")
    run = finished(*at, "lr.value=1e-9")
    trained(*at, f"init={run.folder}", "total_steps=128")
    with pytest.raises(ConfigError, match=r"^init=.*: log_std reaches 0.1, above 0, where"):
        trained(*lower, f"init={run.folder}", "total_steps=128", name="lower")
    with pytest.raises(ConfigError, match=r"^init=.*: log_std reaches 0.1, below 0.5, where"):
        trained("network.log_std=1", "network.log_std_min=0.5", f"init={run.folder}", "total_steps=128", name="higher")


@pytest.mark.parametrize("damage", ["torn", "corrupt", "missing"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(go, tmp_path, capsys, damage):
    go(*LONG, name="whole")
    go(*LONG, name="parts", cut=4)
    latest = checkpoint.find(tmp_path / "parts")
    content = bytearray(latest.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        latest.unlink()
    else:
        latest.write_bytes(content[: len(content) // 2] if damage == "torn" else content)
    go(*LONG, name="parts", cut=1)
    said = capsys.readouterr().err
    assert checkpoint.load(latest)[1]["progress"]["updates"] == 2  # what is damaged is never copied over what is whole
    go(*LONG, name="parts")
    assert "latest.safetensors" in said and "resuming from the one before, of update 2" in said
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_where_a_run_resumes_from_is_where_that_lies_now(go, tmp_path):
    """The one before becomes the latest; that is what the other ranks are told to read."""
    go(*LONG, name="run", cut=4)
    folder = tmp_path / "run"
    checkpoint.find(folder).write_bytes(b"torn")
    seen = []
    ppo_resume, right = ppo.run.resume, ppo.run.resume.thaw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ppo_resume, "thaw", lambda saved, *rest: seen.append(saved.path) or right(saved, *rest))
        go(*LONG, name="run")
    assert seen == [checkpoint.find(folder)]


def test_what_is_left_of_a_checkpoint_that_was_being_written_is_removed(go, tmp_path):
    go(name="run", cut=2)
    torn = tmp_path / "run" / "checkpoints" / ".latest.safetensors.abc"
    torn.write_bytes(b"half")
    go(name="run")
    assert not torn.exists()


def test_another_configuration_is_refused_with_its_keys_and_nothing_is_touched(go, tmp_path):
    go(name="run", cut=2)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(
        ConfigError, match=r"lr.value=0.5 \(was 0.001\), seed=7 \(was 1\); choose another folder .there, init="
    ):
        go("lr.value=0.5", "seed=7", name="run")
    with pytest.raises(ConfigError, match="total_steps=128: the run in .* is one of 256"):
        go("total_steps=128", name="run")
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_what_changes_only_the_rounding_is_said(go, capsys):
    go(name="run", cut=2)
    go("threads=2", name="run")
    torch.set_num_threads(1)
    assert "not to the bit what it would have been: threads was 1 and is 2" in capsys.readouterr().err


def test_what_is_still_to_be_chosen_is_no_difference(config, tmp_path, capsys):
    """threads=auto comes to a number when the run starts; only then is there something to say."""
    before, auto, other = (plain(config(f"threads={n}")) for n in ("1", "auto", "2"))
    check_same(tmp_path, before, auto)
    assert capsys.readouterr().err == ""
    check_same(tmp_path, before, other)
    assert "threads was 1 and is 2" in capsys.readouterr().err


def test_rows_without_a_checkpoint_are_never_overwritten(go, tmp_path):
    go(name="run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match="already holds a run, but no checkpoint"):
        go(name="run")
    assert len(jsonl.read(tmp_path / "run" / "metrics.jsonl")) == 2


def test_an_environment_that_no_seed_governs_is_refused_or_begins_new_episodes(go, tmp_path, monkeypatch):
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    gymnasium.register("Restless-v0", partial(Restless, 0, 50))
    words = ("env=gym", "env.id=Restless-v0")
    go(*words, name="run", cut=2)
    with pytest.raises(ConfigError, match="not determined by seed and actions; exact_resume=false"):
        go(*words, name="run")
    begun, move = [], RewardScale.update
    monkeypatch.setattr(
        RewardScale, "update", lambda scale, *a, **k: begun.append(scale.discounted) or move(scale, *a, **k)
    )
    go(*words, "exact_resume=false", name="run")
    assert (
        len(begun) == 1 and not begun[0].any()
    )  # the returns of episodes that nobody goes on with are none of the new ones
    assert [row["update"] for row in jsonl.read(tmp_path / "run" / "metrics.jsonl")] == [1, 2]


# Workers


def kill_a_worker():
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        if b"envs.worker" in Path("/proc", pid, "cmdline").read_bytes():
            os.kill(int(pid), signal.SIGKILL)
            return


@pytest.mark.parametrize("times", [1, 2])
def test_a_run_that_loses_a_worker_starts_again_from_its_checkpoint(config, tmp_path, monkeypatch, capsys, times):
    """To the bit what it would have been. A worker that is lost twice in one update ends the run."""
    words = ("env.task=clock", "normalise.reward=true", "workers=1", "total_steps=640", "eval.every=0")
    train(config(*words), Run(tmp_path / "whole", "whole", {}))
    original, left = ppo.train.update, times

    def update(*args, **options):
        nonlocal left
        if left and len(jsonl.read(tmp_path / "parts" / "metrics.jsonl")) == 2:
            left -= 1
            kill_a_worker()
        return original(*args, **options)

    monkeypatch.setattr(ppo.train, "update", update)
    parts = Run(tmp_path / "parts", "parts", {})
    if times == 2:
        with pytest.raises(WorkerLost, match="killed by SIGKILL .out of memory"):
            restarting(train, config(*words), parts)
    restarting(train, config(*words), parts)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    assert "starting again after update 2" in capsys.readouterr().err


# The command line

SMALL = ["logger=none", "env=probe", "num_envs=2", "num_steps=32", "minibatch_size=32", "epochs=1", "compile=false"]
SMALL += ["workers=0", "network.actor=[8]", "network.critic=[8]"]


@pytest.fixture
def command(monkeypatch, capfd):
    """Run ``ppo-train`` with these words in this process; (exit code, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ppo-train", *words])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        return code, *capfd.readouterr()

    return run


def test_resume_names_a_run_and_takes_its_configuration(command, tmp_path):
    folder, elsewhere = tmp_path / "run", f"hydra.run.dir={tmp_path / 'day' / 'other'}"
    assert command(*SMALL, "total_steps=128", "lr.value=3e-3", f"hydra.run.dir={folder}")[0] == 0
    code, out, _ = command(f"resume={folder}", "total_steps=256", elsewhere)
    assert code == 0 and "resumes after update 1" in out and not (tmp_path / "day").exists()
    assert [row["update"] for row in jsonl.read(folder / "metrics.jsonl")] == [1, 2, 3]
    code, _, err = command(*SMALL, "total_steps=256", "lr.value=3e-3", f"hydra.run.dir={folder}")
    assert code == 0 and "finished already" in err
    for words, says in (
        (["lr.value=1"], "lr.value=1 (was 0.003)"),
        (["+experiment=pendulum"], "experiment: cannot be put into"),
        ([f"resume={tmp_path / 'nowhere'}"], "no run there"),
    ):
        code, _, err = command(f"resume={folder}", *words, elsewhere)
        assert code == 2 and says in err and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_two_processes_do_not_run_in_one_folder(command, tmp_path):
    (tmp_path / "mine").touch()
    with hold(tmp_path):
        code, _, err = command(*SMALL, "total_steps=128", f"hydra.run.dir={tmp_path}")
    assert code == 2 and "another process is running there" in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_system_without_file_locks_is_one_line(command, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    code, _, err = command(*SMALL, f"hydra.run.dir={tmp_path / 'run'}")
    assert code == 2 and "needs Linux or macOS" in err and err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_runs_named_by_one_tick_of_a_clock_have_a_folder_each(command, tmp_path, monkeypatch):
    """A path of its own is taken as it is; relative ones are as seen from where the command was given."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert command(*SMALL, "total_steps=64", "eval.episodes=0", "hydra.run.dir=${now:%Y},x")[0] == 0
    assert len([*tmp_path.iterdir()]) == 2
    (run, other) = sorted(path.name for path in tmp_path.iterdir())
    assert other == f"{run}-2" and run.endswith(",x")
    code, _, err = command(*SMALL, "total_steps=64", "eval.episodes=0", f"init={run}", "hydra.run.dir=new")
    assert code == 0 and checkpoint.find(tmp_path / "new").exists(), err
