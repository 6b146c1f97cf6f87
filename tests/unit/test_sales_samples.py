import hashlib

import fastexcel
import polars as pl

from treadle.flows.sales.samples import HEADER, sales_orders, write_sales_orders
from treadle.flows.sales.sheet_writer import write_workbook


def test_the_sample_is_the_same_bytes_every_time(tmp_path):
    for name in ("one.xlsx", "two.xlsx"):
        write_sales_orders(tmp_path / name, orders=500)
    assert digest(tmp_path / "one.xlsx") == digest(tmp_path / "two.xlsx")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_sample_has_the_figures_that_the_documents_state():
    frame = pl.DataFrame(list(sales_orders()), schema=list(HEADER), orient="row")
    assert frame.height == frame["order_id"].n_unique() == 50_000
    assert frame["total_visitors"].unique().to_list() == [1_428_571]
    assert frame["converting_visitors"].unique().to_list() == [49_080]
    assert (frame["revenue"] * 100).round(6).sum() == 1_369_475_404


def test_another_seed_gives_other_orders():
    assert list(sales_orders(50, seed=1)) != list(sales_orders(50, seed=2))


def test_a_written_workbook_is_read_back_as_it_was(tmp_path):
    rows = list(sales_orders(200))
    write_workbook(tmp_path / "t.xlsx", HEADER, rows, sheet='A & "B"')
    book = fastexcel.read_excel(tmp_path / "t.xlsx")
    assert book.sheet_names == ['A & "B"']
    frame = pl.DataFrame(book.load_sheet(0))
    expected = pl.DataFrame(rows, schema=list(HEADER), orient="row")
    assert frame.select(pl.col("order_date").cast(pl.Date), "order_id", "region", "revenue").equals(
        expected.select("order_date", "order_id", "region", "revenue")
    )


def test_text_keeps_its_spaces_and_its_markup_characters(tmp_path):
    write_workbook(tmp_path / "t.xlsx", ["a", "b"], [["  <x> & y ", "Ærø"], [None, "z"]])
    assert pl.DataFrame(fastexcel.read_excel(tmp_path / "t.xlsx").load_sheet(0)).rows() == [("  <x> & y ", "Ærø"), (None, "z")]
