"""One run on one page: ``python -m ppo.report RUN``."""
