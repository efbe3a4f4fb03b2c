"""``python -m ppo.compare outputs/ab --by kl --baseline kl=exact``: what ``scripts/compare_runs.py`` does, without a checkout."""

import sys

from ppo.compare.cli import main

if __name__ == "__main__":
    sys.exit(main())
