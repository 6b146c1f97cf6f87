"""Paths of the lakehouse: what passes is one plain path, what could lead elsewhere does not."""

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.clients.onelake import lake_path
from treadle.errors import InvalidInput


@pytest.mark.parametrize(
    ("segments", "path"),
    [
        (("Files", "import", "orders.xlsx"), "Files/import/orders.xlsx"),
        (("Files/import/orders 2026 (final).xlsx",), "Files/import/orders 2026 (final).xlsx"),
        (("Files/import", "Bestellungen Größe № 1 – 売上.csv"), "Files/import/Bestellungen Größe № 1 – 売上.csv"),
        (("Files", "..hidden..x"), "Files/..hidden..x"),
        (("Files", "50%25.csv"), "Files/50%25.csv"),
        (("Files", "a?b#c&d=e+f'g"), "Files/a?b#c&d=e+f'g"),
        (("Files", "x" * 255), f"Files/{'x' * 255}"),
    ],
)
def test_ordinary_names_pass_unchanged(segments, path):
    assert lake_path(*segments) == path


@pytest.mark.parametrize(
    "segments",
    [
        (),
        ("",),
        ("Files", ""),
        ("/Files",),
        ("Files/",),
        ("Files//import",),
        ("Files", ".."),
        ("Files/import/../../Tables",),
        ("Files", "."),
        ("Files", "a\\b"),
        ("Files", "a\nb"),
        ("Files", "a\x00b"),
        ("Files", "a\x7fb"),
        ("Files", "a\x85b"),
        ("Files", "a\ud800b"),
        ("Files", "ends."),
        ("Files", "ends "),
        ("Files", "x" * 256),
        ("Files", *["x" * 200] * 6),
    ],
)
def test_what_could_lead_elsewhere_or_cannot_be_stored_is_refused(segments):
    with pytest.raises(InvalidInput) as refused:
        lake_path(*segments)
    assert refused.value.message.isprintable()


@given(st.lists(st.text(max_size=300), min_size=1, max_size=4))
def test_a_path_that_passes_stays_below_its_first_part(segments):
    try:
        path = lake_path(*segments)
    except InvalidInput:
        return
    assert posixpath.normpath(path) == path
    assert not path.startswith(("/", "../"))
    assert "\\" not in path
    assert path.encode("utf-8")
