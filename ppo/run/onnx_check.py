"""Does an exported policy act as it did in PyTorch? Run by its path, it needs nothing but numpy and onnxruntime.

``python ppo/run/onnx_check.py policy.onnx recorded.npz`` prints one JSON object. ``recorded.npz`` holds ``obs [M, O]`` and
``action [M, A]``, what PyTorch answered.
"""

import json
import sys

import numpy as np
import onnxruntime


def check(model: str, recorded: str) -> dict:
    """The largest difference of any action, all rows at once and the first ones alone; raises ValueError on another
    shape or type, or an action outside of the bounds that the file names."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    with np.load(recorded, allow_pickle=False) as file:
        obs, expected = file["obs"], file["action"]

    def act(rows: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(["action"], {"obs": rows})[0])

    found = act(obs)
    singles = [act(obs[i : i + 1])[0] for i in range(min(10, len(obs)))]
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError(f"{found.dtype} {found.shape} instead of {expected.dtype} {expected.shape}")
    low, high = (np.array(json.loads(about[name]), found.dtype) for name in ("action_low", "action_high"))
    if ((found < low) | (found > high)).any():  # a side without a bound is null, which is NaN here
        raise ValueError("an action is outside of its bounds")
    alone = float(np.abs(np.stack(singles) - expected[: len(singles)]).max())
    return {
        "observations": len(obs),
        "max_difference": max(float(np.abs(found - expected).max()), alone),
        "onnxruntime": onnxruntime.__version__,
    }


if __name__ == "__main__":
    print(json.dumps(check(*sys.argv[1:])))
