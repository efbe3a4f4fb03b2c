"""A wandb workspace for comparisons: ``python scripts/wandb_dashboard.py --project exactkl``.

Runs are grouped by sweep and arm; the panels are returns, the KL family with its bands, what stopped an update, guards
and speed. It is saved on the server that WANDB_BASE_URL names (else wandb's own) where this machine is logged in, and
written as JSON where it is not. Needs the extra `workspace`.
"""

import argparse
import sys
from pathlib import Path

from ppo.config.extras import needs
from ppo.logging import band
from ppo.logging.base import first_line
from ppo.logging.files import write_atomically
from ppo.logging.metrics import estimators

EDGES = dict(zip(band.EDGES, (found.name for found in band.BANDS)))  # upper ends
SECTIONS: dict[str, tuple[str | list[str], ...]] = {  # a panel is a metric, or several in one
    "Returns": ("eval/return", "train/return", "eval/best", "eval/length"),
    "KL": (
        "kl/final",
        "kl/overshoot",
        [f"kl/{kl}" for kl in estimators()],
        [f"kl/error_{kl}" for kl in estimators()],
        ["kl/mean_part", "kl/sigma_part"],
    ),
    "Trust region": ("clip/fraction", "ratio/ess", "update/epochs", "policy/entropy", "policy/sigma", "lr"),
    "Critic": ("value/explained_variance", "loss/value", "loss/policy", "grad/norm"),
    "Guards": ("guard/nonfinite", "guard/clamped", "guard/warned", "guard/extreme", "check/first_log_ratio"),
    "Speed": ("speed/total", "speed/rollout", "speed/update", "time/wall"),
}


def workspace(entity: str, project: str, name: str):
    """The workspace, not saved anywhere yet."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    def panel(metrics: str | list[str]):
        several = [metrics] if isinstance(metrics, str) else metrics
        bands = metrics == "kl/final"
        return wr.LinePlot(
            title="KL(old‖new) after the update: " + ", ".join(f"{v} <= {k}" for k, v in EDGES.items())
            if bands
            else ", ".join(several),
            x="env_steps",
            y=[*several],
            groupby_aggfunc="mean",
            groupby_rangefunc="stderr",
            # wandb draws no areas: the edges of the bands are lines, which an expression of the metric gives.
            custom_expressions=[f"${{kl/final}} * 0 + {edge}" for edge in EDGES] if bands else None,
        )

    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            ws.Section(name=title, panels=[panel(metrics) for metrics in panels], is_open=title in ("Returns", "KL"))
            for title, panels in SECTIONS.items()
        ],
        settings=ws.WorkspaceSettings(x_axis="env_steps", max_runs=100),
        runset_settings=ws.RunsetSettings(groupby=[ws.Metric("Group"), ws.Metric("JobType")]),
    )


def main(argv: list[str] | None = None) -> int:
    """Save the workspace on the server, or write it as JSON; the exit code."""
    parser = argparse.ArgumentParser(prog="wandb_dashboard.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--project", default="exactkl")
    parser.add_argument("--entity", help="user or team [your default]")
    parser.add_argument("--name", default="Arms", help="of the workspace [%(default)s]")
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/wandb-workspace.json"), help="without a server [%(default)s]"
    )
    args = parser.parse_args(argv)
    try:
        import wandb
        import wandb_workspaces.workspaces  # noqa: F401 - reported at once, not after a login
    except ImportError:
        print(f"error: {needs('a workspace', 'workspace')}", file=sys.stderr)
        return 2
    why = "not logged in, see `wandb login`"
    wandb.setup(settings=wandb.Settings(silent=True))
    try:
        if wandb.login(prompt=False, verify=False):
            entity = args.entity or wandb.Api(timeout=15).default_entity or ""
            print(workspace(entity, args.project, args.name).save().url)
            return 0
    except Exception as error:  # whatever it is, the JSON can be written
        why = first_line(error)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    view = workspace(args.entity or "entity", args.project, args.name)._to_model()
    write_atomically(args.out, view.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n")
    print(f"{args.out} (not on a server: {why})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
