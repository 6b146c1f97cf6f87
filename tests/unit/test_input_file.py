from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import InvalidInput
from treadle.flows.sales.input_file import check_input_file, check_run_id, restore_input, restore_source

RUN = UUID("0b0a5f3e-0c39-4b2c-8a57-1f0b0c0d0e01")


@pytest.mark.parametrize(
    "name",
    [
        "sales.xlsx",
        "a.XLS",
        "b.xlsb",
        "c.ods",
        "d.csv",
        "e.tsv",
        "f.parquet",
        "Umsätze März 2026 (final).xlsx",
        "売上.csv",
        "v1.2.csv",
        "50%.csv",
        "a" * 238 + ".csv",
    ],
)
def test_plain_names_of_known_kinds_are_taken_as_they_are(name):
    assert check_input_file(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "   ", ".", "..", "../sales.xlsx", "a/b.xlsx", "/etc/passwd.csv", "a\\b.xlsx", "..\\b.xlsx", "a..xlsx"),
        *("a\x00.xlsx", "a\n.csv", "a\x1b[31m.csv", "a\x7f.csv", "a\x85.csv", "a\u2028.csv", "a\u202excod.csv", "a\ud800.csv"),
        *(
            "a" * 300 + ".xlsx",
            "a" * 239 + ".csv",
            "ä" * 126 + ".xlsx",
            "sales",
            "sales.txt",
            "sales.xlsm",
            ".xlsx",
            "sales.xlsx.mapping.json",
            "sales.csv ",
            "__restore__x.csv",
        ),
    ],
)
def test_everything_else_is_refused_with_a_reason_and_a_hint(name):
    with pytest.raises(InvalidInput) as caught:
        check_input_file(name)
    assert caught.value.hint
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


@given(st.text(max_size=300))
def test_a_name_that_is_taken_is_one_path_segment(name):
    try:
        taken = check_input_file(name)
    except InvalidInput:
        return
    assert "/" not in taken
    assert taken not in {".", ".."}
    assert len(f"{taken}.mapping.json".encode()) <= 255


def test_a_restore_names_its_source_and_a_workbook_none():
    assert restore_source(restore_input(RUN)) == RUN
    assert restore_source("sales.xlsx") is None


@pytest.mark.parametrize(
    "name", ["__restore__", "__restore__x", "__restore__../x", f"__restore__{RUN}.xlsx", f"__restore__{str(RUN).upper()}"]
)
def test_a_restore_without_a_run_is_refused(name):
    with pytest.raises(InvalidInput, match="run to restore"):
        restore_source(name)


@pytest.mark.parametrize(
    "text", ["", "x", str(RUN).upper(), RUN.hex, f"{{{RUN}}}", f"urn:uuid:{RUN}", f" {RUN}", f"{RUN}\n", "../" + str(RUN)]
)
def test_a_run_id_has_one_spelling(text):
    assert check_run_id(str(RUN)) == RUN
    with pytest.raises(InvalidInput, match="run id"):
        check_run_id(text)
