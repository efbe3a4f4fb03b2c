"""What is said of an update beside what it says itself: shares of what was cut off, by hand."""

import torch
from gymnasium.spaces import Box

from ppo.buffer.data import tree_map
from ppo.buffer.minibatches import allocate
from ppo.buffer.rewards import RewardNormaliser
from ppo.network.normaliser import ObsNormaliser
from ppo.run.assemble import assemble
from ppo.run.describe import describe


def test_what_lies_beyond_a_bound_is_counted_among_the_samples_that_are_learned_from(config):
    """Of ten samples two are masked, which are beyond every bound; a value can be 5 / (1 - 0.9) = 50 at most."""
    parts = assemble(config("gamma=0.9"))
    parts.envs.close()
    rollout = allocate(5, 2, Box(-1.0, 1.0, (1,)), parts.network, masks=True)
    rollout = tree_map(torch.zeros_like, rollout)._replace(mask=torch.arange(10).view(5, 2) < 8)
    for x, numbers in (
        (rollout.action, [1.5, -1.01, 1.0, -1.0, 0.0, 7.0, 0.0, 0.0, 9.0, 9.0]),  # 3 are not within [-1, 1]
        (rollout.reward, [10.0, -12.0, 9.9, 0.0, 0.0, 0.0, 0.0, 0.0, 99.0, 99.0]),  # 2 reach 5 deviations of 2
        (rollout.obs, [-30.0, 9.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 99.0, 99.0]),  # 1 reaches 10
    ):
        x.copy_(torch.tensor(numbers).view(x.shape))
    value = torch.tensor([50.1, -60.0, 49.9, 51.0, 52.0, -53.0, 0.0, 0.0, 99.0, 99.0])  # 5
    normalise, scale = ObsNormaliser.identity()._replace(clip=10.0), RewardNormaliser(torch.tensor(2.0), 5.0)
    batch = parts.prepare(rollout, parts.flat, normalise, scale)._replace(value=value)
    state = parts.start._replace(
        chosen=parts.schedule(parts.start.chosen, parts.start.seen, 0),
        reward_scale=parts.start.reward_scale._replace(largest=torch.tensor(12.0, dtype=torch.float64)),
    )
    said = describe(parts, state, {}, rollout, batch, normalise, scale, [], (1.0, 1.0))
    shares = [said[name] for name in ("action/clipped", "reward/clipped", "obs/clipped", "value/beyond")]
    assert shares == [3 / 8, 2 / 8, 1 / 8, 5 / 8] and said["env/nonfinite"] == 2
