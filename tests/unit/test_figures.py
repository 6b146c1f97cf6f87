"""Figures for people: one name and form each, wherever they are shown."""

from decimal import Decimal

from treadle.flows.sales.figures import HEADLINE, change_written, in_order, label_of, relative_written, written


def test_ours_come_first_in_their_order_then_those_that_we_do_not_know():
    shown = in_order([*HEADLINE, "funnel.total_visitors", "returns", "orders", "funnel.orders"])
    assert [label_of(name) for name in shown] == ["Revenue", "Orders", "Average order value", "Visitors", "Returns"]


def test_each_figure_is_written_as_what_it_is():
    assert written("total_revenue", 1234.5) == "1,234.50"
    assert written("orders", Decimal(1234)) == "1,234"
    assert written("funnel.conversion_rate_pct", 3.4) == "3.40 %"
    assert (written("returns", 12), written("returns", 1.5)) == ("12", "1.50")
    assert written("aov", None) == "–"


def test_a_change_has_a_sign_and_a_share_changes_by_points():
    assert change_written("total_revenue", Decimal("-184.71")) == "-184.71"
    assert change_written("orders", Decimal(44991)) == "+44,991"
    assert change_written("funnel.conversion_rate_pct", Decimal("0.5")) == "+0.50 points"
    assert (change_written("orders", Decimal(0)), change_written("orders", None)) == ("0", "–")
    assert (relative_written(Decimal("4.961")), relative_written(None)) == ("+496.1 %", "–")
    assert (relative_written(0), relative_written(Decimal("-0.0001"))) == ("0 %", "≈ 0 %")
