"""``plots=true``: a window that follows a run, and the same picture as ``run.png`` in its folder (an extra).

Without a screen there is only the file.
"""

import io
import time
from pathlib import Path
from typing import Any

from ppo.config.extras import needs
from ppo.logging.base import LoggerError, first_line, say
from ppo.logging.files import write_atomically
from ppo.logging.panels import draw


class Window:
    """Panels of one run. ``every``: seconds between two drawings, and ``save``: between two writings of the file; both
    at the end as well. A window that is closed, or breaks, costs the picture, never the run. Raises LoggerError without
    matplotlib."""

    def __init__(self, path: Path, name: str, total_steps: int, *, every: float = 2.0, save: float = 60.0):
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise LoggerError(needs("plots=true", "plots")) from None
        self._plt, self._path, self._total = plt, path, total_steps
        self._every, self._save = every, save
        self._rows: list[dict] = []
        self._drawn = self._saved = time.monotonic()
        self._figure: Any = self._open(name)
        self._shown = getattr(self._figure.canvas, "required_interactive_framework", None) is not None
        if self._shown:
            self._figure.show()
        else:
            say(f"plots: no screen here, look at {path}")

    def _open(self, name: str) -> Any:
        """A figure in a window, or in memory where no window can be opened."""
        options: dict[str, Any] = {"num": name, "figsize": (11, 6.5), "layout": "constrained", "clear": True}
        try:
            return self._plt.figure(**options)
        except Exception:  # no display, or none that answers: each toolkit has an error of its own
            self._plt.switch_backend("Agg")
            return self._plt.figure(**options)

    def update(self, row: dict) -> None:
        """Take an update's metrics, in place of those it gave before, and draw when it is time; keeps a window alive in
        between."""
        if self._rows and self._rows[-1].get("env_steps") == row.get("env_steps"):
            self._rows.pop()
        self._rows.append({name: row[name] for name in _SHOWN if name in row})
        now = time.monotonic()
        try:
            if self._shown and now - self._drawn >= self._every and self._plt.fignum_exists(self._figure.number):
                self._drawn = now
                draw(self._figure, self._rows, self._total)
                self._figure.canvas.draw_idle()
            if self._shown:
                self._figure.canvas.flush_events()
            if now - self._saved >= self._save:
                self.save()
        except Exception as error:  # of whatever toolkit
            self._shown = False
            say(f"plots: the window failed, the run goes on: {first_line(error)}")

    def save(self) -> None:
        """Write the picture."""
        self._saved = time.monotonic()
        draw(self._figure, self._rows, self._total)
        picture = io.BytesIO()
        self._figure.savefig(picture, dpi=110, format="png")
        write_atomically(self._path, picture.getvalue())

    def close(self) -> Path | None:
        """Write the picture a last time and close the window; the file, None where nothing was drawn."""
        try:
            if self._rows:
                self.save()
            self._plt.close(self._figure)
        except Exception as error:
            say(f"plots: {self._path} could not be written: {first_line(error)}")
            return None
        return self._path if self._rows else None


_SHOWN = ("env_steps", "kl/final", "train/return", "eval/return", "value/explained_variance", "loss/value")
