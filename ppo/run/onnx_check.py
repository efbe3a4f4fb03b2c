"""Does an exported policy act as it did in PyTorch? Run by its path, it needs nothing but numpy and onnxruntime.

``python ppo/run/onnx_check.py policy.onnx recorded.npz`` prints one JSON object. ``recorded.npz`` holds ``obs [M, O]`` and
``action [M, A]``, what PyTorch answered. Of a policy with memory, whose episodes are repeated step by step, both are
``[T, N, ...]``, and ``first [T, N]`` says where an episode begins.
"""

import json
import sys

import numpy as np
import onnxruntime


def check(model: str, recorded: str) -> dict:
    """The largest difference of any action, all rows at once and some alone; raises ValueError on another
    shape or type, or an action outside of the bounds that the file names."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    with np.load(recorded, allow_pickle=False) as file:
        obs, first, expected = file["obs"], file["first"], file["action"]
    size = int(about["memory"])

    def alone(rows: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(["action"], {"obs": rows})[0])

    def along(obs: np.ndarray, first: np.ndarray) -> np.ndarray:
        """The actions [T, N, A] of these episodes."""
        memory, found = np.zeros((obs.shape[1], size), np.float32), []
        for rows, begins in zip(obs, first):
            memory[begins] = 0.0
            action, memory = map(np.array, session.run(["action", "next_memory"], {"obs": rows, "memory": memory}))
            found.append(action)
        return np.stack(found)

    if size:
        found, singles, few = along(obs, first), along(obs[:, :1], first[:, :1])[:, 0], expected[:, 0]
    else:
        found, few = alone(obs), expected[:10]
        singles = np.concatenate([alone(obs[i : i + 1]) for i in range(len(few))])
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError(f"{found.dtype} {found.shape} instead of {expected.dtype} {expected.shape}")
    low, high = (np.array(json.loads(about[name]), found.dtype) for name in ("action_low", "action_high"))
    if ((found < low) | (found > high)).any():  # a side without a bound is null, which is NaN here
        raise ValueError("an action is outside of its bounds")
    return {
        "observations": first.size,
        "max_difference": max(float(np.abs(found - expected).max()), float(np.abs(singles - few).max())),
        "onnxruntime": onnxruntime.__version__,
    }


if __name__ == "__main__":
    print(json.dumps(check(*sys.argv[1:])))
