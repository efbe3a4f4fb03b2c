"""The hopper: against Lagrange's equations, conservation laws, Coulomb's law, and the scales that it stands on."""

import pytest
import torch
from torch.func import grad, jacrev, jvp, vmap

from envs.batched.hopper import (
    DT,
    ENDS,
    HIGH,
    INERTIA,
    LENGTH,
    LOW,
    MASS,
    MU,
    STICK,
    SUBSTEPS,
    TORQUE,
    WEIGHT,
    G,
    Hopper,
    Robot,
    Shape,
    accelerations,
    energy,
    floor,
    joints,
    solved,
    stepped,
)

F64 = torch.float64
SHAPE = Shape.like(torch.zeros(1, dtype=F64))
SHORT = DT / SUBSTEPS
FREE = torch.zeros(4, dtype=F64)


def robots(count, *, height=3.0, seed=0):
    """In any pose, at any speed."""
    g = torch.Generator().manual_seed(seed)
    place, angle, speed, spin = (2 * torch.rand(count, n, generator=g, dtype=F64) - 1 for n in (2, 3, 2, 3))
    place = place + torch.tensor([0.0, height], dtype=F64)
    return Robot(place, 2 * angle, 2 * speed, 5 * spin, torch.zeros(count, 4, dtype=F64))


def drawn(hip, angle):
    """(middles [3, 2], ends [4, 2]): as one would draw the robot, from the hip along the rods."""
    down = torch.stack((torch.sin(angle), -torch.cos(angle)), -1) * torch.tensor(LENGTH)[:, None]
    knee = hip + down[1]
    middles = torch.stack((hip - down[0] / 2, hip + down[1] / 2, knee + down[2] / 2))
    return middles, torch.stack((hip - down[0], hip, knee, knee + down[2]))


def hip_of_angle(angle):
    """Where the hip is, the centre of mass being at 0."""
    return -torch.tensor(MASS) @ drawn(angle.new_zeros(2), angle)[0] / MASS.sum()


def hip_of(robot):
    return robot.place + vmap(hip_of_angle)(robot.angle)


def flying(robot, seconds, dt, torque=(0.0, 0.0)):
    """In the air, with motors but without drag and stops."""
    turn = torch.tensor([-torque[0], torque[0] - torque[1], torque[1]], dtype=F64).expand(len(robot.place), 3)
    none = FREE.expand(len(robot.place), 4)
    for _ in range(round(seconds / dt)):
        moving, turning = accelerations(robot, turn, none, none, SHAPE)
        speed, spin = robot.speed + dt * moving, robot.spin + dt * turning
        robot = Robot(robot.place + dt * speed, robot.angle + dt * spin, speed, spin, robot.stretch)
    return robot


def limp(robot, seconds, dt=SHORT, pull=0.0):
    """Its motors off; ``pull``: of its own weight, forward."""
    off = torch.zeros(len(robot.place), 2, dtype=F64)
    for _ in range(round(seconds / dt)):
        robot = stepped(robot, off, dt, SHAPE)
        robot = robot._replace(speed=robot.speed + dt * pull * torch.tensor([G, 0.0]))
    return robot


@pytest.fixture(scope="module")
def flat():
    """One that lies stretched out and still."""
    angle = torch.tensor([[-1.57, -1.57, -1.66]], dtype=F64)
    return limp(robots(1, height=0.5)._replace(angle=angle, spin=0 * angle), 4)


def test_it_moves_by_lagranges_equations():
    """Of the energies of three rods, drawn from the hip; forces and torques by the work that they do."""
    turn, forward, up = (torch.randn(50, n, dtype=F64, generator=torch.Generator().manual_seed(n)) for n in (3, 4, 4))

    def lagrangian(q, v):
        middles, moving = jvp(lambda q: drawn(q[:2], q[2:])[0], (q,), (v,))
        mass = torch.tensor(MASS)
        turning = torch.tensor(MASS * LENGTH**2 / 12) @ v[2:].square()
        return 0.5 * (mass @ moving.square().sum(-1) + turning) - G * mass @ middles[:, 1]

    def after(q, v, turn, forward, up):
        ends = jacrev(lambda q: drawn(q[:2], q[2:])[1])(q)  # [4, 2, 5]
        pushed = forward @ ends[:, 0] + up @ ends[:, 1] + torch.cat((turn.new_zeros(2), turn))
        mass, mixed = jacrev(grad(lagrangian, 1), 1)(q, v), jacrev(grad(lagrangian, 1), 0)(q, v)
        turned = torch.linalg.solve(mass, pushed + grad(lagrangian)(q, v) - mixed @ v)
        # of the coordinates (hip, angles): what that is of the centre of mass
        centre = lambda q: (torch.tensor(MASS) @ drawn(q[:2], q[2:])[0]) / MASS.sum()  # noqa: E731
        moving = lambda q, v: jvp(centre, (q,), (v,))[1]  # noqa: E731
        return jvp(moving, (q, v), (v, turned))[1], turned[2:]

    robot = robots(50)
    hip = hip_of(robot)
    at_rest = torch.zeros(50, 3, dtype=F64)
    _, lever = vmap(
        lambda a, w: jvp(lambda a: torch.tensor(MASS) @ drawn(a.new_zeros(2), a)[0] / MASS.sum(), (a,), (w,))
    )(robot.angle, robot.spin)
    expected = vmap(after)(
        torch.cat((hip, robot.angle), -1), torch.cat((robot.speed - lever, robot.spin), -1), turn, forward, up
    )
    ours = accelerations(robot, turn, forward, up, SHAPE)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(ours[1], accelerations(robot, at_rest, forward, up, SHAPE)[1])


def test_its_ends_are_where_they_are_drawn_and_feel_the_floor_there():
    """One hundredth of a metre deep, each in turn: 1e4 N/m, damped by half its speed; 60 N s/m along it, below mu N."""
    robot = robots(20)._replace(speed=0.1 * robots(20, seed=1).speed, spin=0.1 * robots(20, seed=1).spin)
    _, ends = vmap(drawn)(hip_of(robot), robot.angle)
    _, moving = vmap(lambda a, w: jvp(lambda a: drawn(a.new_zeros(2), a)[1], (a,), (w,)))(robot.angle, robot.spin)
    _, centre = vmap(lambda a, w: jvp(lambda a: -hip_of_angle(a), (a,), (w,)))(robot.angle, robot.spin)
    moving = moving - centre[:, None] + robot.speed[:, None]
    for end in range(4):
        low = robot._replace(place=robot.place - torch.tensor([0.0, 1.0]) * (ends[:, end, 1:] + 0.01))
        forward, load, _ = floor(low, SHORT, SHAPE)
        torch.testing.assert_close(load[:, end], 100 * (1 - 0.5 * moving[:, end, 1]))
        torch.testing.assert_close(forward[:, end], (-60 * moving[:, end, 0]).clamp(-load[:, end], load[:, end]))
    assert not floor(robot, SHORT, SHAPE)[1].any()


def test_in_free_fall_it_is_as_heavy_as_anything_else():
    """Its centre of mass, from the three rods, falls by g t^2 / 2 whatever the motors do."""
    before, seconds = robots(20), 0.5
    after = flying(before, seconds, 1e-4, torque=(30.0, -20.0))
    start, end = (
        (torch.tensor(MASS)[:, None] * vmap(drawn)(hip_of(r), r.angle)[0]).sum(1) / MASS.sum() for r in (before, after)
    )
    fallen = before.speed * seconds - torch.tensor([0.0, G * seconds**2 / 2])
    torch.testing.assert_close(end - start, fallen, rtol=0, atol=5e-4)
    assert (after.spin - before.spin).abs().max() > 10


def test_in_the_air_motors_do_not_turn_it_as_a_whole():
    """The momentum about its centre of mass stays, to the order of the integrator; each rod's own changes by far more."""

    def momentum(robot):
        middles, moving = vmap(lambda a, w: jvp(lambda a: drawn(a.new_zeros(2), a)[0], (a,), (w,)))(
            robot.angle, robot.spin
        )
        mass = torch.tensor(MASS)[:, None]
        middles, moving = (x - (mass * x).sum(1, keepdim=True) / MASS.sum() for x in (middles, moving))
        around = middles[..., 0] * moving[..., 1] - middles[..., 1] * moving[..., 0]
        return (mass[:, 0] * around).sum(-1) + robot.spin @ torch.tensor(INERTIA).diag()

    before = robots(50)
    after = [flying(before, 0.3, dt, torque=(3.0, -2.0)) for dt in (1e-3, 5e-4)]
    off = [(momentum(robot) - momentum(before)).abs().mean() for robot in after]
    assert off[0] < 0.02 * momentum(before).abs().mean() and 1.7 < off[0] / off[1] < 2.3
    assert (after[0].spin - before.spin).abs().mean() > 1


def test_without_forces_it_keeps_its_energy_to_the_order_of_the_integrator():
    before = robots(50)
    off = [(energy(flying(before, 0.5, dt)) - energy(before)).abs().mean() for dt in (1e-3, 5e-4, 2.5e-4)]
    assert off[0] < 0.01 * energy(before).mean()
    assert 1.7 < off[0] / off[1] < 2.3 and 1.7 < off[1] / off[2] < 2.3


def test_its_energy_is_that_of_three_rods():
    robot = robots(20)
    middles, moving = vmap(lambda p, a, v, w: jvp(lambda p, a: drawn(p, a)[0], (p, a), (v, w)))(
        hip_of(robot), robot.angle, torch.zeros_like(robot.speed), robot.spin
    )
    mass = torch.tensor(MASS)[:, None]
    moving = moving - (mass * moving).sum(1, keepdim=True) / MASS.sum() + robot.speed[:, None]
    kinetic = 0.5 * (mass * moving.square()).sum((1, 2)) + 0.5 * (torch.tensor(INERTIA) @ robot.spin.square().T).sum(0)
    torch.testing.assert_close(energy(robot), kinetic + (mass * middles).sum(1)[:, 1] * G)


def test_at_rest_the_floor_carries_its_weight():
    """Eight seconds after a fall from any pose."""
    robot = limp(robots(5, height=1.0), 8)
    forward, up, _ = floor(robot, SHORT, SHAPE)
    assert max(x.abs().max() for x in (robot.speed, robot.spin)) < 2e-3
    torch.testing.assert_close(up.sum(-1), torch.full((5,), float(MASS.sum()) * 9.81, dtype=F64), rtol=1e-3, atol=0)
    assert forward.sum(-1).abs().max() < 0.1 and (up.gt(0).sum(-1) >= 2).all()
    deepest = -(robot.place[:, 1:] - (SHAPE.ends * torch.cos(robot.angle)[:, None]).sum(-1))
    assert 0 < deepest.max() < 0.01


def test_friction_is_coulombs():
    """Never more than mu N, never with the slip, none without a load; and the floor never pulls."""
    robot = robots(5000, height=0.3)
    robot = robot._replace(stretch=0.01 * torch.randn(5000, 4, dtype=F64, generator=torch.Generator().manual_seed(1)))
    forward, up, stretch = floor(robot, SHORT, SHAPE)
    assert (up >= 0).all() and (up > 0).any() and (forward.abs() <= MU * up).all()
    assert ((forward.abs() == MU * up) & (up > 0)).any() and ((forward.abs() < MU * up) & (up > 0)).any()
    assert (STICK * stretch.abs() <= MU * up * (1 + 1e-12)).all()
    _, unloaded, let_go = floor(robot._replace(place=robot.place + 5), SHORT, SHAPE)
    assert not unloaded.any() and not let_go.any()


def test_sliding_it_is_slowed_by_mu_times_gravity_and_stays_where_it_stops(flat):
    """From 2 m/s in 2 / (mu g) s, as long as 2^2 / (2 mu g) m."""
    robot = limp(flat._replace(speed=flat.speed + torch.tensor([2.0, 0.0])), 0.05)
    slower = limp(robot, 0.1)
    assert (robot.speed - slower.speed)[0, 0].item() == pytest.approx(0.1 * MU * G, rel=0.02)
    stopped = limp(slower, 0.5)
    assert (stopped.place - flat.place)[0, 0].item() == pytest.approx(4 / (2 * MU * G), abs=0.02)
    assert abs(stopped.speed[0, 0]) < 1e-3 and (limp(stopped, 1).place - stopped.place).abs().max() < 1e-3


def test_it_yields_to_a_pull_of_more_than_mu_times_its_weight(flat):
    """With what friction leaves of it, g t^2 / 2; to less by what the springs give."""
    assert abs((limp(flat, 1, pull=0.8).place - flat.place)[0, 0]) < 0.02
    assert (limp(flat, 1, pull=2.0).place - flat.place)[0, 0].item() == pytest.approx(G / 2, rel=0.05)


def test_motors_push_on_both_rods_and_joints_stop():
    robot = robots(200)._replace(spin=torch.zeros(200, 3, dtype=F64))
    torque = torch.tensor([[7.0, -3.0]], dtype=F64).expand(200, 2)
    turn = joints(robot, torque, SHAPE)
    assert turn.sum(-1).abs().max() < 1e-12  # a robot turns itself by nothing
    bend = robot.angle.diff()
    inside = ((bend > torch.tensor(LOW)) & (bend < torch.tensor(HIGH))).all(-1)
    assert inside.any() and torch.equal(
        turn[inside], torch.tensor([[-7.0, 10.0, -3.0]], dtype=F64).expand(inside.sum(), 3)
    )
    task, g = Hopper(), torch.Generator().manual_seed(0)
    state = task.begin(torch.rand(200, task.draws, generator=g))
    for _ in range(100):  # whatever the motors do, and after the fall as well
        state, *_ = task.move(state, 2 * torch.randint(0, 2, (200, 2), generator=g) - 1.0)
        bend = Robot.of(state).angle.diff()
        assert torch.isfinite(state).all()
        assert (bend > torch.tensor(LOW) - 0.7).all() and (bend < torch.tensor(HIGH) + 0.7).all()


def test_it_begins_on_its_foot_and_is_paid_for_going_forward():
    task = Hopper()
    state = task.begin(torch.rand(500, task.draws, generator=torch.Generator().manual_seed(0)))
    robot = Robot.of(state)
    foot = robot.place[:, 1] - (robot.angle.new_tensor(ENDS[-1]) * torch.cos(robot.angle)).sum(-1)
    assert foot.abs().max() < 1e-6 and robot.place[:, 0].eq(0).all()
    middle = Robot.of(task.begin(torch.full((1, task.draws), 0.5)))
    stance = Robot(middle.place + 1, middle.angle, torch.tensor([[1.5, 0.0]]), middle.spin, middle.stretch)
    after, reward, fallen = task.move(torch.cat(stance, -1), torch.tensor([[2.0, 0.0]]))  # in the air, cut at 1
    assert torch.equal(after, task.move(torch.cat(stance, -1), torch.tensor([[1.0, 0.0]]))[0])
    assert reward.item() == pytest.approx(1 + 1.5 - 0.1, abs=1e-4) and not fallen
    assert Robot.of(after).place[0, 0].item() == pytest.approx(1 + 1.5 * DT)
    upright = torch.tensor([[0.0, 1.0, 0.9, 0.9, 0.9, *[0.0] * 9]])
    assert (
        task.move(upright, torch.zeros(1, 2))[2]
        and task.move(upright * torch.tensor([1, 1, -1, 1, 1, *[1] * 9]), torch.zeros(1, 2))[2]
    )
    folded = torch.tensor([[0.0, 0.5, 0.0, 1.4, -0.7, *[0.0] * 9]])
    assert hip_of(Robot.of(folded.double()))[0, 1] < 0.4 and task.move(folded, torch.zeros(1, 2))[2]
    state = torch.tensor([[9.0, 1, 2, 4, 7, 11, 16, 22, 29, 37, *[9] * 4]])
    assert task.observe(state).tolist() == [[1, 2, 2, 3, 11, 16, 22, 7, 8]]


def test_single_precision_is_enough_for_its_equations():
    """Cramer's rule in float32, on the matrices that poses make, against LAPACK in float64."""
    robot = robots(5000)
    matrix = SHAPE.coupling * torch.cos(robot.angle[:, :, None] - robot.angle[:, None]) + SHAPE.inertia
    right = torch.randn(5000, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    expected = torch.linalg.solve(matrix, right)
    off = (solved(matrix.float(), right.float()) - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert off.max() < 1e-4
    assert (
        (solved(matrix, right) - expected).abs().max() < 1e-9 and pytest.approx(9.5 * 9.81) == WEIGHT and TORQUE == 60
    )
