"""Compare arms of runs: ``python scripts/compare_runs.py outputs/ab --by kl --baseline kl=exact --out outputs/verdict``"""

import sys

from ppo.compare.cli import main

if __name__ == "__main__":
    sys.exit(main())
