"""Runs whose actor does not see everything."""

import pytest
import torch

from ppo import evaluate, export
from ppo.config.options import ConfigError
from ppo.run.assemble import assemble
from ppo.run.build import saved_policy

PENDULUM = ("env=gym", "env.id=Pendulum-v1", "network.actor=[4]", "network.critic=[5]", "normalise.obs=true")


def test_actor_and_critic_have_as_many_inputs_as_they_see(config):
    parts = assemble(config(*PENDULUM, "observe.actor=[0:2]", "observe.critic=[2]"))
    parts.envs.close()
    shapes = {name: tuple(p.shape) for name, p in parts.network.named_parameters()}
    assert shapes["actor.1.weight"] == (4, 2) and shapes["critic.1.weight"] == (5, 1)


def test_such_a_run_is_trained_evaluated_exported_and_taught(trained, finished, config, capsys, tmp_path):
    """What the actor does not see changes nothing of what it does; a teacher may see it."""
    run = finished(*PENDULUM, "observe.actor=[0,2]")
    evaluate.main([str(run.folder), "--episodes", "1"])
    cfg = config(*PENDULUM, "observe.actor=[0,2]")
    parts = assemble(cfg)
    parts.envs.close()
    policy = saved_policy(cfg, run.tensors, parts.envs, torch.device("cpu"))
    obs = torch.randn(6, 3)
    other = obs.clone()
    other[:, 1] += 1
    assert torch.equal(policy(obs).mean, policy(other).mean)
    assert not torch.equal(policy.network.value(obs), policy.network.value(other))
    teacher = finished(*PENDULUM)
    rows, _ = trained(*PENDULUM, "observe.actor=[0,2]", "reference=checkpoint", f"reference.run={teacher.folder}")
    assert rows[0]["reference/kl"] > 0
    with pytest.raises(ConfigError, match=r"observe.actor="):
        assemble(config(*PENDULUM, f"init={run.folder}", "observe.actor=[0,1]"))
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    said = export.export(run.folder, tmp_path / "policy.onnx", observations=20)
    assert said["columns"] == [0, 2]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("observe.actor=[]", "names no column"),
        ("observe.critic=[0:9]", "columns 0 to 2"),
        ("observe.actor=[gyro]", "no names, only numbers"),
    ],
)
def test_what_names_no_column_is_one_line(config, word, said):
    with pytest.raises(ConfigError, match=f"^{word.partition('=')[0]}=") as error:
        assemble(config(*PENDULUM, word))
    assert said in str(error.value)
