"""The configuration tree; a package, so that it is installed beside `ppo` and Hydra finds it there."""
