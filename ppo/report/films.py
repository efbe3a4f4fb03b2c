"""The videos and animations in a run's folder, within the page."""

import base64
from pathlib import Path

from ppo.page.html import text

KINDS = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif"}
MOST = 12_000_000  # bytes of all of them in one page; what is beyond is named


def films(folder: Path) -> str:
    """Every video at any depth, the newest first; empty where there is none. A link out of the folder is no video of it, nor
    is the copy that wandb keeps."""
    inside = [path for path in folder.rglob("*") if path.resolve().is_relative_to(folder.resolve())]
    inside = [path for path in inside if path.relative_to(folder).parts[0] != "wandb"]
    found = [path for path in inside if path.suffix.lower() in KINDS and path.is_file()]
    shown, left, room = [], [], MOST
    for path in sorted(found, key=lambda path: (-path.stat().st_mtime, path)):
        name, size = str(path.relative_to(folder)), path.stat().st_size
        if size > room:
            left.append(f"{name} ({size / 1e6:,.1f} MB)")
            continue
        room -= size
        source = f"data:{KINDS[path.suffix.lower()]};base64,{base64.b64encode(path.read_bytes()).decode()}"
        picture = f'<img alt="{text(name)}" src="{source}">'
        if path.suffix.lower() != ".gif":
            picture = f'<video controls loop muted playsinline preload="metadata" src="{source}"></video>'
        shown.append(f"<figure>{picture}<figcaption>{text(name)}</figcaption></figure>")
    more = f'<p class="about">Too large for this page: {text(", ".join(left))}.</p>' if left else ""
    return (f'<div class="films">{"".join(shown)}</div>' if shown else "") + more
