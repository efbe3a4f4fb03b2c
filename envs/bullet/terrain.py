"""Ground that is not level."""

import numpy as np

from envs.bullet.world import World

_CELL = 0.1  # m
_ROWS, _COLUMNS = 161, 401  # y and x: 16 m wide, 40 m long, the origin in the middle of the width and 5 m from its rear
_REAR = 5.0  # m


def rough_ground(world: World, roughness: float) -> int:
    """A field of bumps up to ``roughness`` m high, the same in every world, level around the origin."""
    rng = np.random.default_rng(0)
    bumps = rng.uniform(0.0, roughness, (_ROWS, _COLUMNS))
    y = (np.arange(_ROWS) - _ROWS // 2) * _CELL
    x = np.arange(_COLUMNS) * _CELL - _REAR
    away = np.hypot(y[:, None], x[None, :])
    height = bumps * np.clip((away - 0.5) / 0.5, 0.0, 1.0)  # rising from 0.5 to 1 m from the origin
    shape = world.call("createCollisionShape")(
        world.bullet.GEOM_HEIGHTFIELD,
        meshScale=[_CELL, _CELL, 1.0],
        heightfieldData=height.ravel().tolist(),
        numHeightfieldRows=_COLUMNS,  # Bullet calls the count along x rows
        numHeightfieldColumns=_ROWS,
    )
    # Bullet centres a field on the middle of its heights.
    middle = [0.5 * (x[0] + x[-1]), 0.0, 0.5 * (height.min() + height.max())]
    ground = world.call("createMultiBody")(0, shape, basePosition=middle)
    world.call("changeDynamics")(ground, -1, lateralFriction=0.8)
    world.call("changeVisualShape")(ground, -1, rgbaColor=[0.55, 0.60, 0.50, 1])
    return ground
