"""The reference numbers are those that the program beside them makes."""

import json

import pytest

from tests.reference.make_vectors import FILE, made


def leaves(tree, path=()):
    if isinstance(tree, dict | list):
        for key, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(part, (*path, key))
    elif tree is not None:
        yield path, tree


def test_the_file_holds_what_its_program_makes():
    kept, anew = dict(leaves(json.loads(FILE.read_text()))), dict(leaves(made()))
    assert list(kept) == list(anew) and len(kept) > 300
    assert list(kept.values()) == pytest.approx(list(anew.values()), rel=1e-12, abs=1e-15)
