"""The world: environments behind one vector protocol. Knows nothing of the trainer.

Importing it gives the Bullet tasks to gymnasium: ``gymnasium.make("envs/AntBullet-v0")``, and one world of each batched task.
"""

from gymnasium import register

for _name, _where, _steps in (
    ("HopperBullet", "hopper:make", 1000),
    ("Walker2DBullet", "walker2d:make", 1000),
    ("HalfCheetahBullet", "halfcheetah:make", 1000),
    ("AntBullet", "ant:make", 1000),
    ("HumanoidBullet", "humanoid:make", 1000),
    ("InvertedPendulumBullet", "pendulum:InvertedPendulum", 1000),
    ("InvertedPendulumSwingupBullet", "pendulum:InvertedPendulumSwingup", 1000),
    ("InvertedDoublePendulumBullet", "pendulum:InvertedDoublePendulum", 1000),
    ("ReacherBullet", "reacher:Reacher", 150),
    ("ArachneBullet", "arachne:Arachne", 1000),
):
    register(f"envs/{_name}-v0", entry_point=f"envs.bullet.{_where}", max_episode_steps=_steps)

for _name, _task in (
    ("Pendulum", "pendulum"),
    ("CartPoleSwingUp", "cartpole_swingup"),
    ("Reacher", "reacher"),
    ("Hopper", "hopper"),
):
    register(f"envs/{_name}-v0", entry_point="envs.batched.single:Single", kwargs={"task": _task})
