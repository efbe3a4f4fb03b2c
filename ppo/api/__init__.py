"""The framework from Python: ``ppo.fit``, ``ppo.load``, ``ppo.compare``. The words are those of the command line, and so is
what they do; what is a mistake there raises here, with the same line."""

from ppo.api.compare import Verdict, verdict
from ppo.api.fit import Finished, Metrics, fit
from ppo.api.policy import Policy, load

__all__ = ["Finished", "Metrics", "Policy", "Verdict", "fit", "load", "verdict"]
