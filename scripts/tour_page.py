"""A hook of mkdocs: docs/tour.ipynb as a page of the site, and links to the notebook as links to that page."""

import json
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

NOTEBOOK, PAGE = "tour.ipynb", "tour.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page, beside the notebook itself, which it links to."""
    cells = json.loads(Path(config.docs_dir, NOTEBOOK).read_text(encoding="utf-8"))["cells"]
    parts = [*map(markdown, cells), f"This page is a notebook: [{NOTEBOOK}]({NOTEBOOK}).\n"]
    files.append(File.generated(config, PAGE, content="\n\n".join(parts)))
    return files


def on_page_markdown(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the other pages lead to the page."""
    return text if page.file.src_uri == PAGE else text.replace(f"]({NOTEBOOK})", f"]({PAGE})")


def markdown(cell: dict[str, Any]) -> str:
    """A cell of a notebook as Markdown: code, and what it printed, returned or drew; pictures first."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    parts, printed = [fenced(source, "python")], ""
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            picture = "".join(data["image/png"]).replace("\n", "")
            parts.append(f"![what the cell drew](data:image/png;base64,{picture})")
        else:
            printed += "".join(output.get("text") or data.get("text/plain", "")).rstrip("\n") + "\n"
    return "\n\n".join([*parts, *([fenced(printed, "text")] if printed else [])])


def fenced(text: str, language: str) -> str:
    """A block of code."""
    return f"````{language}\n{text.rstrip()}\n````"
