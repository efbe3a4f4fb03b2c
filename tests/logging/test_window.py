"""``plots=true``: the picture of a run, with a screen or without, and its panels on the dashboards."""

import re
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from ppo.config.extras import needs
from ppo.config.options import option
from ppo.logging.band import BANDS
from ppo.logging.base import LoggerError, Run
from ppo.logging.panels import PANELS, draw, shade
from ppo.logging.window import Window
from ppo.train import train


def row(i: int, **changes) -> dict:
    values = {"kl/final": 0.004 * i, "train/return": float(i), "value/explained_variance": 0.5, "loss/value": 1.0 / i}
    return {"update": i, "env_steps": 100 * i} | values | changes


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    """As on a machine without one."""
    before = mpl.get_backend()
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    mpl.use("Agg")
    yield
    mpl.use(before)


def test_every_updates_kl_has_the_colour_of_its_band():
    figure = Figure()
    draw(figure, [row(i) for i in range(1, 15)], 10_000)
    kl, returns, explained, loss = figure.axes
    (dots,) = kl.collections
    assert len(np.unique(dots.get_facecolor(), axis=0)) == 5  # 0.004 to 0.056: every band
    assert [axis.get_title() for axis in figure.axes] == [title for title, _, _ in PANELS]
    assert returns.lines[0].get_xdata()[-1] == 1400 and loss.get_yscale() == "log"


def test_what_is_missing_or_not_finite_is_left_out():
    figure = Figure()
    rows = [row(1, **{"kl/final": float("nan"), "loss/value": float("inf")}), {"env_steps": 200, "kl/final": 0.3}]
    draw(figure, rows, 1000)
    assert len(figure.axes[0].collections[0].get_offsets()) == 1
    draw(figure, [], 1000)


def test_the_bands_reach_as_far_as_the_axis():
    axis = Figure().subplots()
    axis.plot([0, 1], [0.0, 0.025])
    shade(axis)
    assert len(axis.patches) == 3
    axis.plot([0, 1], [0.0, 4.0])
    axis.set_ylim(0, 4)
    shade(axis)
    assert len(axis.patches) == 3 + len(BANDS)


def test_without_a_screen_there_is_the_file(tmp_path, capsys):
    window = Window(tmp_path / "run.png", "run", 1000, save=0.0)
    assert "no screen here" in capsys.readouterr().err
    window.update(row(1))
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "run.png").unlink()
    assert window.close() == tmp_path / "run.png" and (tmp_path / "run.png").exists()
    assert Window(tmp_path / "none.png", "none", 1000).close() is None


def test_a_picture_that_cannot_be_written_does_not_end_the_run(tmp_path, capsys):
    window = Window(tmp_path / "gone" / "run.png", "run", 1000, save=0.0)
    window.update(row(1))
    window.update(row(2))
    assert window.close() is None
    assert "the run goes on" in capsys.readouterr().err


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(LoggerError, match="^" + re.escape(needs("plots=true", "plots")) + "$"):
        Window(tmp_path / "run.png", "run", 1000)


def test_a_run_with_plots_leaves_its_picture_also_on_the_dashboard(config, tmp_path, capsys):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    cfg = config("plots=true", "logger=tensorboard", "eval.every=0")
    train(cfg, Run(tmp_path / "run", "run", {}))
    assert (tmp_path / "run" / "run.png").exists()
    events = reader.EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    assert len(events.Images("doctor")) == 1 and events.Scalars("doctor/band")


def test_the_panels_are_laid_out_in_tensorboard(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tensorboard.plugins.custom_scalar import layout_pb2

    logger = option("logger", "tensorboard")(Run(tmp_path, "run", {}))
    logger.alert("doctor: epochs", "too many")
    logger.close({}, failed=False)
    events = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (layout,) = events.Tensors("custom_scalars__config__")
    category = layout_pb2.Layout.FromString(layout.tensor_proto.string_val[0]).category[0]
    assert [chart.title for chart in category.chart][: len(PANELS)] == [title for title, _, _ in PANELS]
    assert list(category.chart[1].multiline.tag) == ["train/return$", "eval/return$"]
    assert events.Tensors("alert/doctor: epochs/text_summary")
