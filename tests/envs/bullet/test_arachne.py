import numpy as np
import pytest

pytest.importorskip("pybullet")

from envs.bullet.arachne import MODEL, VARIANTS, Arachne
from envs.bullet.terrain import field, rough_ground
from envs.bullet.world import World
from ppo.config.options import ConfigError, option
from scripts.make_arachne import model


def gait(step):
    """Alternating fours: while one half of the legs swings forward in the air, the other pushes."""
    phase = 2 * np.pi * 1.5 * step / 60
    action = []
    for side in (1, -1):
        for leg in range(4):
            own = phase + np.pi * ((leg + (side < 0)) % 2)
            action += (side * 0.7 * np.cos(own), 0.6 * max(0.0, np.sin(own)))
    return np.array(action, np.float32)


def play(env, steps, action):
    env.reset(seed=0)
    return [env.step(action(t)) for t in range(steps)]


def test_the_model_is_what_the_script_writes():
    assert MODEL.read_text() == model()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_scripted_gait_walks_on_every_ground(variant):
    env = Arachne(variant=variant)
    steps = play(env, 300, gait)
    assert not any(terminated for _, _, terminated, _, _ in steps)
    assert env.centre()[0] > 0.5
    env.close()


def test_standing_still_is_worth_less_than_walking_and_more_than_trembling():
    env = Arachne()
    rng = np.random.default_rng(0)
    walk, stand, tremble = (
        sum(reward for _, reward, *_ in play(env, 200, action))
        for action in (gait, lambda t: np.zeros(16, np.float32), lambda t: rng.normal(size=16).astype(np.float32))
    )
    assert walk > stand + 50 > tremble + 50
    env.close()


@pytest.mark.parametrize("term", ["forward", "upright", "energy", "smoothness"])
def test_the_reward_is_the_weighted_sum_of_its_terms(term):
    """Each weight alone, times two, doubles the reward; all terms have their sign."""
    none = {"forward": 0.0, "upright": 0.0, "energy": 0.0, "smoothness": 0.0}
    once, twice = (Arachne(**none | {term: weight}) for weight in (1.0, 2.0))
    a, b = (np.array([reward for _, reward, *_ in play(env, 60, gait)]) for env in (once, twice))
    np.testing.assert_allclose(2 * a, b, rtol=1e-9, atol=1e-12)
    assert a.sum() > 0 if term in ("forward", "upright") else (a <= 0).all() and a.sum() < 0


def test_forward_adds_up_to_the_way_gone():
    env = Arachne(forward=1.0, upright=0.0, energy=0.0, smoothness=0.0)
    assert sum(reward for _, reward, *_ in play(env, 120, gait)) / 60 == pytest.approx(env.centre()[0], abs=1e-9)


def test_on_its_back_it_has_lost():
    env = Arachne()
    env.reset(seed=0)
    env.world.call("resetBasePositionAndOrientation")(env.body.id, [0, 0, 0.3], [1, 0, 0, 0])
    assert env.step(np.zeros(16, np.float32))[2]


def test_variants_are_dealt_out_in_turn_and_are_the_groups():
    env = option("env", "arachne", variants=["flat", "payload"])(5, 0)
    env.reset(0)
    assert env.step(np.zeros((5, 16))).group.tolist() == [0, 1, 0, 1, 0]
    env.close()
    # Another ground gives another movement.
    ends = {variant: play(Arachne(variant=variant), 60, gait)[-1][0].tobytes() for variant in VARIANTS}
    assert len(set(ends.values())) == len(VARIANTS)


@pytest.mark.parametrize(("variants", "said"), [(["moon"], "flat, slope, rough, payload"), ([], "must not be empty")])
def test_an_unknown_variant(variants, said):
    with pytest.raises(ConfigError, match=said):
        option("env", "arachne", variants=variants)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_episode_is_the_same_whatever_came_before(variant):
    used, fresh = Arachne(variant=variant), Arachne(variant=variant)
    play(used, 50, lambda t: np.full(16, np.sin(t), np.float32))
    for (a, *rest), (b, *rest_) in zip(play(used, 100, gait), play(fresh, 100, gait)):
        np.testing.assert_array_equal(a, b)
        assert rest == rest_
    np.testing.assert_array_equal(used.reset(seed=1)[0], fresh.reset(seed=1)[0])
    assert not used.reset(seed=1)[0][43:59].any()  # no previous action


def test_what_only_a_simulator_knows_comes_after_what_its_sensors_tell():
    """The columns of before are as they were; the robot's weight rests on its feet, on ground as high as it is."""
    plain, told = (option("env", "arachne", variants=["payload", "rough"], privileged=p)(2, 0) for p in (False, True))
    try:
        assert plain.columns == {n: c for n, c in told.columns.items() if c.stop <= 67}
        assert sum(map(len, told.columns.values())) == told.observation_space.shape[0] == 86
        np.testing.assert_array_equal(plain.reset(3), told.reset(3)[:, :67])
        for _ in range(60):
            one, two = (env.step(np.zeros((2, 16), np.float32)).obs for env in (plain, told))
        np.testing.assert_array_equal(one, two[:, :67])
        of = {name: two[:, columns] for name, columns in told.columns.items()}
        laden, unladen = of["ground/force"].sum(1)  # standing: the weight of the robot, which the payload adds 3 kg to
        robot = Arachne(privileged=True)
        assert unladen == pytest.approx(1, rel=0.05) and laden == pytest.approx(1 + 3 * 9.8 / robot._weight, rel=0.05)
        robot.close()
        assert of["payload"][:, 0].tolist() == [1, 0] and of["slope"].tolist() == [[0], [0]]
        assert of["roughness"][:, 0] == pytest.approx([0, 0.4])
    finally:
        plain.close(), told.close()


def test_the_height_of_rough_ground_is_where_a_ray_meets_it():
    world = World(gravity=9.8, time_step=1 / 60, substeps=1)
    try:
        rough_ground(world, 0.04)
        x, y = np.random.default_rng(0).uniform([-2, -3], [20, 3], (50, 2)).T
        down = [[*at, 1.0] for at in zip(x, y)], [[*at, -1.0] for at in zip(x, y)]
        hit = np.array([ray[3][2] for ray in world.call("rayTestBatch")(*down)])
        heights = field(0.04).at(x, y)
        assert (
            np.abs(hit - heights).max() < 0.012 and np.corrcoef(hit, heights)[0, 1] > 0.95
        )  # Bullet's cells are triangles
    finally:
        world.close()
