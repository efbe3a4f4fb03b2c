"""Robots and tasks over PyBullet's batched calls."""
