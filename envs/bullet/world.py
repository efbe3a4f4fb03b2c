"""One PyBullet physics client and what stands in it."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from envs.base import EnvError

_NO_LINK = 1 << 20
_YAW, _PITCH = 0.0, -30.0  # of the camera, degrees


def pybullet() -> ModuleType:
    """The library, imported when a world is made: it has no wheel for some Python versions."""
    try:
        import pybullet
    except ImportError as error:
        raise EnvError(
            "the Bullet robots need PyBullet: pip install pybullet (for Python 3.11 on Linux there is a wheel; elsewhere a C++ "
            "compiler builds it in some eight minutes), or take another world: env=mujoco, env=gym"
        ) from error
    return pybullet


def bundled(file: str) -> Path:
    """A model file of the pybullet_data package."""
    pybullet()
    import pybullet_data

    return Path(pybullet_data.getDataPath(), file)


class World:
    """An own client, never the shared-memory server that ``connect`` may find: that one can hang for ever.

    ``time_step`` is in seconds, for one call of ``step``, which integrates it in ``substeps``; ``gravity`` in m/s^2.
    """

    def __init__(self, *, gravity: float, time_step: float, substeps: int, gui: bool = False):
        self.bullet = pybullet()
        self.time_step, self.substeps = time_step, substeps
        self._client = self.bullet.connect(self.bullet.GUI if gui else self.bullet.DIRECT)
        if self._client < 0:
            raise EnvError(
                "PyBullet opens one window a process, and this one could not be opened; watch one environment: num_envs=1"
            )
        self.call("setPhysicsEngineParameter")(
            deterministicOverlappingPairs=1, fixedTimeStep=time_step, numSubSteps=substeps, numSolverIterations=5
        )
        self.call("setGravity")(0, 0, -gravity)
        self.call("setDefaultContactERP")(0.9)
        self.step = self.call("stepSimulation")
        self.euler = self.bullet.getEulerFromQuaternion
        self._pristine: Callable[[], None] = lambda: None

    def call(self, name: str) -> Any:
        """PyBullet's function ``name`` for this client."""
        return partial(getattr(self.bullet, name), physicsClientId=self._client)

    def load_floor(self) -> int:
        """The running track of Roboschool; its surface gives and takes."""
        (floor,) = self.load(bundled("plane_stadium.sdf"))
        self.call("changeDynamics")(floor, -1, lateralFriction=0.8, restitution=0.5)
        self.call("changeVisualShape")(floor, -1, rgbaColor=[1, 1, 1, 0.8])
        return floor

    def load(self, file: Path, *, at: Sequence[float] = (0.0, 0.0, 0.0)) -> tuple[int, ...]:
        """The bodies of an MJCF, SDF or URDF file; a robot's links collide with all others but their ancestors.

        ``at`` (m) is for a URDF, the other formats say themselves where things are.
        """
        if not file.is_file():
            raise EnvError(f"no such model file: {file}")
        try:
            if file.suffix == ".sdf":
                return self.call("loadSDF")(str(file))
            flags = (
                self.bullet.URDF_USE_SELF_COLLISION
                | self.bullet.URDF_USE_SELF_COLLISION_EXCLUDE_ALL_PARENTS
                | self.bullet.URDF_GOOGLEY_UNDEFINED_COLORS
            )
            if file.suffix == ".urdf":
                return (self.call("loadURDF")(str(file), at, flags=flags),)
            return self.call("loadMJCF")(str(file), flags=flags)
        except self.bullet.error as error:
            raise EnvError(f"PyBullet cannot read {file}: {error}") from error

    def remember(self) -> None:
        """Take the present state as the pristine one."""
        restore = partial(self.call("restoreState"), self.call("saveState")())
        bodies = [self.call("getBodyUniqueId")(i) for i in range(self.call("getNumBodies")())]
        refresh = self.call("setCollisionFilterPair")

        def pristine() -> None:
            # Bullet's saved state leaves out in which order pairs of shapes met, and its solver takes contacts in that
            # order. Any new collision rule, here one for links that do not exist, makes it meet them anew.
            for body in bodies:
                refresh(body, body, _NO_LINK, _NO_LINK, True)
            restore()

        self._pristine = pristine

    def restore(self) -> None:
        """Back to the pristine state. Exact only if it is done before every episode, the first included."""
        self.alive()
        self._pristine()

    def alive(self) -> None:
        """EnvError after ``close``: another world may have taken over the client's number."""
        if self._client < 0:
            raise EnvError("this world is closed")

    def image(self, target: Sequence[float], distance: float, *, width: int = 320, height: int = 240) -> np.ndarray:
        """An image [height, width, 3] uint8 of the world from ``distance`` to ``target`` (m)."""
        self.alive()
        view = self.bullet.computeViewMatrixFromYawPitchRoll(target, distance, _YAW, _PITCH, 0.0, 2)
        projection = self.bullet.computeProjectionMatrixFOV(60.0, width / height, 0.1, 100.0)
        image = self.call("getCameraImage")(width, height, view, projection, renderer=self.bullet.ER_TINY_RENDERER)[2]
        return np.reshape(np.asarray(image, np.uint8), (height, width, 4))[:, :, :3]

    def show(self, target: Sequence[float], distance: float) -> None:
        """Turn the window's camera to ``target`` (m) and let a time step pass on the wall clock."""
        self.call("resetDebugVisualizerCamera")(distance, _YAW, _PITCH, target)
        time.sleep(self.time_step)

    def close(self) -> None:
        """Disconnect; a second call does nothing."""
        if self._client >= 0:
            self.call("disconnect")()
            self._client = -1
