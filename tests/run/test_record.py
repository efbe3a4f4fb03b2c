"""What becomes of an update: whether it is kept, and that it is on the disk before it is shown."""

import pytest
import torch

from ppo.logging.none import Nothing
from ppo.run import checkpoint
from ppo.run.crash import NonFinite
from ppo.run.record import Record
from ppo.update.loop import Halt

HALT = Halt("nonfinite", "kl/stop", value=float("nan"), limit=float("inf"), epoch=1, minibatch=3)


@pytest.fixture
def judged(problem):
    """The learner that a run goes on with: "before" or "after" an update that ended so."""

    def run(policy, halt, kl=0.1):
        record = Record(None, torch.Generator(), on_nonfinite=policy, every=0, explain=str)
        before, after = problem(4).learner, problem(4).learner
        kept = record.judge(before, after, halt, {"kl/final": kl, "stop/nonfinite": "grad/norm=nan"}, problem(4).batch)
        return "before" if kept is before else "after" if kept is after else kept

    return run


def test_skip_keeps_the_steps_before_the_refused_one_rollback_none_and_stop_ends_the_run(judged):
    assert [judged(policy, HALT) for policy in ("skip", "rollback")] == ["after", "before"]
    with pytest.raises(NonFinite, match="epoch 1, minibatch 3: grad/norm=nan"):
        judged("stop", HALT)


def test_a_policy_that_is_not_finite_at_the_end_is_never_gone_on_with(judged):
    """No step was refused: the last one led there, and nothing is known of those before."""
    assert [judged(policy, None, float("nan")) for policy in ("skip", "rollback")] == ["before", "before"]
    with pytest.raises(NonFinite, match="kl/final=nan"):
        judged("stop", None, float("nan"))


def test_an_update_whose_numbers_are_finite_is_kept(judged):
    stopped = HALT._replace(reason="minibatch")
    assert {judged(policy, halt) for policy in ("stop", "skip", "rollback") for halt in (None, stopped)} == {"after"}


def test_what_a_dashboard_is_shown_is_on_the_disk_already(trained, tmp_path, monkeypatch):
    seen = []

    def log(self, row, env_steps):
        _, meta = checkpoint.load(checkpoint.find(tmp_path / "run"))
        seen.append((row["update"], meta["progress"]["updates"]))

    monkeypatch.setattr(Nothing, "log", log)
    trained("num_steps=8", "epochs=1", "total_steps=64", "eval.episodes=0")
    assert seen == [(1, 1), (2, 2)]
