"""The notebook as a page of the site."""

import pytest

pytest.importorskip("mkdocs")
from scripts.tour_page import markdown


def test_a_cell_is_its_code_its_pictures_and_what_it_said():
    outputs = [
        {"output_type": "stream", "text": ["one\n", "two\n"]},
        {"output_type": "display_data", "data": {"image/png": "AAAA\n", "text/plain": ["<Figure>"]}},
        {"output_type": "execute_result", "data": {"text/plain": ["3"]}},
    ]
    cell = {"cell_type": "code", "source": ["x = 1\n", "x"], "outputs": outputs}
    code, picture, said = markdown(cell).split("\n\n")
    assert code == "````python\nx = 1\nx\n````" and said == "````text\none\ntwo\n3\n````"
    assert picture == "![what the cell drew](data:image/png;base64,AAAA)"
    assert markdown({"cell_type": "markdown", "source": ["# A\n", "b"]}) == "# A\nb"
