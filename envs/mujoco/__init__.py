"""MuJoCo robots of gymnasium, stepped by C of our own: the same numbers to the bit, without Python in every sub-environment."""
