"""Tables of other programs: a CSV with a row for each evaluation of each run."""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ppo.compare.trial import CompareError, Trial, logged

COLUMNS = ("env", "arm", "seed", "step", "return")
OTHER_NAMES = {  # what others call a column; they are suggested, not taken: `reward` may be that of one step
    "env": ("environment", "env_id", "env_name", "task"),
    "arm": ("algo", "algorithm", "method", "agent", "variant", "config", "group"),
    "seed": ("seeds", "run", "random_seed", "trial"),
    "step": ("steps", "env_step", "env_steps", "global_step", "timestep", "timesteps", "total_timesteps"),
    "return": ("returns", "reward", "rewards", "episode_reward", "episode_return", "ep_rew_mean", "score", "value"),
}
NOT_LOGGED = ("", "na", "n/a", "null", "none")  # a cell without a value; NaN is a value
_WANTED = f"a row for each run and step, with the columns {','.join(COLUMNS)}"


def read_csv(path: Path) -> list[Trial]:
    """The runs of a table with the columns ``env,arm,seed,step,return``, in any order and case, others ignored.

    Fields are separated by commas, semicolons (then with a decimal point or comma) or tabs. An empty return is no row.
    Raises CompareError, with the line at fault, and with what to rename where the format is another program's.
    """
    runs: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for key, step, value in _rows(path):
        points = runs.setdefault(key, [])
        if value is not None:
            points.append((step, value))
    return [_trial(path, key, points) for key, points in sorted(runs.items())]


def _trial(path: Path, key: tuple[str, str, int], points: list[tuple[float, float]]) -> Trial:
    env, arm, seed = key
    try:
        curve, failed, notes = logged(points)
    except CompareError as error:
        raise CompareError(f"{path}: {arm}, seed {seed} has {error}") from None
    curves = {} if curve is None else {"return": curve}
    return Trial(env, seed, arm, failed, curves, [], None, {}, None, path, notes)


def _rows(path: Path) -> Iterator[tuple[tuple[str, str, int], float, float | None]]:
    """((env, arm, seed), step, return or None) of every line that is not blank."""
    text = _text(path)
    if text.startswith("#{"):
        raise CompareError(
            f"{path}: a monitor.csv of Stable-Baselines3. Its step is the running sum of l, its return is r; write them "
            f"as {_WANTED}"
        )
    separator = max(",;\t", key=text.partition("\n")[0].count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
        header = next(reader, [])
        at = _columns(header, path)
        for fields in reader:
            where = f"{path}, line {reader.line_num}"
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                raise CompareError(f"{where}: not as many fields as the header has ({len(fields)}, not {len(header)})")
            yield _read({name: fields[i].strip() for name, i in at.items()}, where, comma=separator != ",")
    except csv.Error as error:
        raise CompareError(f"{path}: no CSV of {','.join(COLUMNS)} ({error})") from None


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise CompareError(f"{path}: no text in UTF-8 ({error.reason}); save it as CSV in UTF-8") from None


def _columns(header: Sequence[str], path: Path) -> dict[str, int]:
    """Name -> place in ``header``. Raises CompareError with what to rename."""
    names = [name.strip().lower() for name in header]
    if any(name.endswith("__min") for name in names):
        raise CompareError(
            f"{path}: an export of a wandb panel, a column for each run. Write {_WANTED}: step is {header[0]}, return "
            "the column of the run without __MIN and __MAX"
        )
    if {"wall time", "step", "value"} <= {*names}:
        raise CompareError(
            f"{path}: an export of a TensorBoard scalar. Rename Value to return and add the columns env, arm and seed"
        )
    if "rollout/ep_rew_mean" in names:
        raise CompareError(
            f"{path}: a progress.csv of Stable-Baselines3. Rename rollout/ep_rew_mean to return and "
            "time/total_timesteps to step, and add the columns env, arm and seed"
        )
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        found = [(other, name) for name in missing for other in OTHER_NAMES[name] if other in names]
        hints = f"; rename {', '.join(f'{other} to {name}' for other, name in found)}" if found else ""
        raise CompareError(f"{path}, line 1: no column {', '.join(missing)}; expected {','.join(COLUMNS)}{hints}")
    for name in COLUMNS:
        if names.count(name) > 1:
            raise CompareError(f"{path}, line 1: two columns are called {name}")
    return {name: names.index(name) for name in COLUMNS}


def _read(row: dict[str, str], where: str, *, comma: bool) -> tuple[tuple[str, str, int], float, float | None]:
    """``row`` as ((env, arm, seed), step, return), None being a return that was not logged. ``comma``: of decimals."""
    if not row["env"] or not row["arm"]:
        raise CompareError(f"{where}: env and arm must be named")
    if comma and re.fullmatch(r"\d{1,3}([.,]\d{3})+", row["step"]):
        raise CompareError(f"{where}: step is {row['step']!r}: thousands, or decimals? write it without either")
    seed, step = (_number(row[name], f"{where}: {name}", comma=comma) for name in ("seed", "step"))
    if not (math.isfinite(seed) and seed == round(seed)):
        raise CompareError(f"{where}: seed is {row['seed']!r}, expected a whole number")
    if not math.isfinite(step):
        raise CompareError(f"{where}: step {step} is no place on the axis")
    value = None
    if row["return"].lower() not in NOT_LOGGED:
        value = _number(row["return"], f"{where}: return", comma=comma)
    return (row["env"], row["arm"], int(seed)), step, value


def _number(text: str, where: str, *, comma: bool) -> float:
    try:
        return float(text.replace(",", ".") if comma and "." not in text else text)
    except ValueError:
        raise CompareError(f"{where} is {text!r}, expected a number") from None
