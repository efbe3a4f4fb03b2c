"""A page as a program reads it."""

import json
from html.parser import HTMLParser


class Read(HTMLParser):
    """Every element with its attributes, and the text within each."""

    def __init__(self, content: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[tuple[str, str]] = []  # tag that the text stands in, and the text
        self._open = [""]
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, tag

    def handle_data(self, data):
        self.texts.append((self._open[-1], data))

    def within(self, tag: str) -> list[str]:
        return [text for where, text in self.texts if where == tag]


def data_of(content: str) -> dict:
    """What the page's script gets."""
    (written,) = [text for text in Read(content).within("script") if text.startswith("{")]
    return json.loads(written)


def sources(content: str) -> list[str]:
    """Whatever a browser would load."""
    named = ("src", "href", "action", "poster", "srcset", "data")
    return [a[name] for _, a in Read(content).elements for name in named if name in a]
