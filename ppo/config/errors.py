"""What an error says to the person who typed."""

from hydra.errors import HydraException, MissingConfigException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from ppo.config.options import MOVED, suggest


def one_line(error: BaseException) -> str:
    """What was wrong and where, without the framework's advice for its own developers."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name}: no such option{suggest(name, error.options)}"
    cause = error.__cause__ if isinstance(error, HydraException) else None
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        if cause.full_key in MOVED:
            return f"{cause.full_key}: no longer a key; write {MOVED[cause.full_key]}"
        if isinstance(cause, ConfigKeyError | ConfigAttributeError):
            known = [key for key in cause.parent_node or () if key != "_target_"]
            return f"{cause.full_key}: no such key or group{suggest(str(cause.key), known)}"
        return f"{cause.full_key}: {str(cause.msg or cause).splitlines()[0]}"
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line) or type(error).__name__
