"""TensorBoard: event files inside the run folder, read back."""

import math
import re
import sys

import numpy as np
import pytest

from ppo.config.extras import needs
from ppo.config.options import option
from ppo.logging.base import LoggerError, Run


def test_numbers_and_text_are_read_back(tmp_path, capfd):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = option("logger", "tensorboard")(Run(tmp_path, "a", {"kl": "exact"}, "sweep", "kl=exact"))
    logger.log({"update": 1, "kl/exact": 0.25, "update/stop": "none"}, 64)
    logger.log({"update": 2, "kl/exact": math.nan, "update/stop": "epoch"}, 128)
    logger.close({"eval/best": 9.0}, failed=True)
    assert logger.run_id is None
    assert f"tensorboard --logdir {tmp_path / 'tensorboard'}\n" in capfd.readouterr().err

    events = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    first, second = events.Scalars("kl/exact")
    assert (first.step, first.value) == (64, 0.25)
    assert second.step == 128
    assert math.isnan(second.value)

    def text(name):
        return [(event.step, event.tensor_proto.string_val[0].decode()) for event in events.Tensors(name)]

    assert text("update/stop/text_summary") == [(64, "none"), (128, "epoch")]
    ((step, config),) = text("config/text_summary")
    assert step == 0
    assert '"kl": "exact"' in config
    assert '"job_type": "kl=exact"' in config
    ((step, summary),) = text("summary/text_summary")
    assert step == 128
    assert '"failed": true' in summary


def test_a_film_is_a_small_gif_in_real_time(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    imageio = pytest.importorskip("imageio.v3")
    frames = np.stack([np.full((300, 600, 3), 2 * step, np.uint8) for step in range(100)])
    imageio.imwrite(tmp_path / "film.mp4", frames, fps=50, macro_block_size=2)
    logger = option("logger", "tensorboard")(Run(tmp_path, "a", {}))
    logger.video("eval/video", tmp_path / "film.mp4", 64)
    logger.close({}, failed=False)
    events = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (image,) = events.Images("eval/video")
    shown = [*imageio.imiter(image.encoded_image_string, extension=".gif")]
    lasts = [imageio.immeta(image.encoded_image_string, index=i)["duration"] for i in range(len(shown))]
    assert image.step == 64 and (image.width, image.height) == (240, 120) == shown[0].shape[1::-1]
    assert sum(lasts) == pytest.approx(2000, abs=60) and len(shown) <= 40


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(LoggerError, match="^" + re.escape(needs("logger=tensorboard", "tensorboard")) + "$"):
        option("logger", "tensorboard")(Run(tmp_path, "a", {}))
    assert list(tmp_path.iterdir()) == []
