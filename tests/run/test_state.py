"""What an update leaves for the choices of the next one."""

import torch

from ppo.buffer.rewards import RewardScale
from ppo.control.match import Matched
from ppo.control.progress import Seen
from ppo.control.schedule import Chosen
from ppo.network.normaliser import Moments
from ppo.run.state import State
from ppo.update.loop import Halt
from ppo.update.optim import Learner

START = State(Learner.start(torch.zeros(1)), Moments.empty(1), RewardScale.empty(1), Chosen(match=Matched()))
METRICS = {
    "kl/chosen": 1.0,
    "kl/final": 2.0,
    "clip/fraction": 0.25,
    "reference/kl": 3.0,
    "bc/ppo_ratio": 4.0,
    "advantage/scale": 5.0,
}
UNDONE = Halt("rollback", "kl/exact", value=6.0, limit=0.1, epoch=1, minibatch=4, undone=True)


def test_what_adapts_reads_the_chosen_estimator_and_match_kl_the_exact_one():
    after = START.note(METRICS, None)
    assert after.seen == Seen(kl=1.0, clip_fraction=0.25, reference_kl=3.0, demo_ratio=4.0)
    assert after.advantage_scale == 5.0 and after.chosen.match.kl == 2.0
    assert START.note(METRICS, UNDONE._replace(undone=False)).seen == after.seen
    bare = START.note({"kl/chosen": 1.0, "kl/final": 2.0}, None)
    assert bare.seen == Seen(kl=1.0) and bare.advantage_scale is None


def test_after_an_epoch_that_was_undone_both_read_how_far_it_went():
    after = START.note(METRICS, UNDONE)
    assert after.seen.kl == after.chosen.match.kl == 6.0 and after.seen.clip_fraction == 0.25
