"""Ground that is not level."""

from functools import cache
from typing import NamedTuple

import numpy as np

from envs.bullet.world import World

_CELL = 0.1  # m
_ROWS, _COLUMNS = 161, 401  # y and x: 16 m wide, 40 m long, the origin in the middle of the width and 5 m from its rear
_REAR = 5.0  # m


class Field(NamedTuple):
    """The heights of a ground that is not level."""

    height: np.ndarray  # [rows along y, columns along x] m

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The height (m) at these places (m), between the four corners of their cells; beyond the field, of its edge."""
        row = np.clip(y / _CELL + _ROWS // 2, 0, _ROWS - 1.001)
        column = np.clip((x + _REAR) / _CELL, 0, _COLUMNS - 1.001)
        i, j = row.astype(int), column.astype(int)
        u, v = row - i, column - j
        near = (1 - v) * self.height[i, j] + v * self.height[i, j + 1]
        far = (1 - v) * self.height[i + 1, j] + v * self.height[i + 1, j + 1]
        return (1 - u) * near + u * far


@cache
def field(roughness: float) -> Field:
    """Bumps up to ``roughness`` m high, the same in every world, level around the origin."""
    rng = np.random.default_rng(0)
    bumps = rng.uniform(0.0, roughness, (_ROWS, _COLUMNS))
    y = (np.arange(_ROWS) - _ROWS // 2) * _CELL
    x = np.arange(_COLUMNS) * _CELL - _REAR
    away = np.hypot(y[:, None], x[None, :])
    return Field(bumps * np.clip((away - 0.5) / 0.5, 0.0, 1.0))  # rising from 0.5 to 1 m from the origin


def rough_ground(world: World, roughness: float) -> int:
    """The ground of ``field(roughness)``."""
    height = field(roughness).height
    shape = world.call("createCollisionShape")(
        world.bullet.GEOM_HEIGHTFIELD,
        meshScale=[_CELL, _CELL, 1.0],
        heightfieldData=height.ravel().tolist(),
        numHeightfieldRows=_COLUMNS,  # Bullet calls the count along x rows
        numHeightfieldColumns=_ROWS,
    )
    # Bullet centres a field on the middle of its heights.
    middle = [0.5 * (_COLUMNS - 1) * _CELL - _REAR, 0.0, 0.5 * (height.min() + height.max())]
    ground = world.call("createMultiBody")(0, shape, basePosition=middle)
    world.call("changeDynamics")(ground, -1, lateralFriction=0.8)
    world.call("changeVisualShape")(ground, -1, rgbaColor=[0.55, 0.60, 0.50, 1])
    return ground
