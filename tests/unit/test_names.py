"""Column names: normalised, unique, mapped, and explained when one is missing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import InvalidInput
from treadle.flows.sales.reading.names import normalise_name, plan_names, require_columns

HEADERS = st.lists(st.none() | st.text(max_size=12), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Order ID", "order_id"),
        ("  Order \n  Date\t", "order_date"),
        ("Sub-Category", "sub-category"),
        ("Cafe\u0301", "café"),
        ("\ufeffRevenue", "revenue"),
        ("Net\u00a0Sales", "net_sales"),
        ("   ", ""),
        ("2020", "2020"),
    ],
)
def test_a_header_becomes_a_name(header, name):
    assert normalise_name(header) == name


@settings(deadline=None, max_examples=60)
@given(HEADERS)
def test_names_are_unique_and_never_empty_whatever_the_headers(headers):
    names = plan_names(headers, {}).names
    assert len(set(names)) == len(names) == len(headers)
    assert all(names)


@settings(deadline=None, max_examples=60)
@given(HEADERS)
def test_naming_twice_changes_nothing(headers):
    once = plan_names(headers, {}).names
    assert plan_names(once, {}).names == once


def test_a_blank_header_is_named_by_its_place():
    assert plan_names(["a", None, " "], {}).names == ("a", "column_2", "column_3")


def test_columns_that_normalise_to_one_name_are_made_unique_and_reported():
    plan = plan_names(["Amount", "amount", "AMOUNT ", "amount_2"], {})
    assert plan.names == ("amount", "amount_3", "amount_4", "amount_2")
    assert [finding.check for finding in plan.findings] == ["column_names_unique"]
    assert "amount_3" in plan.findings[0].detail


@pytest.mark.parametrize("source", ["Sales", "sales", " SALES "])
def test_a_mapping_finds_its_column_exactly_or_without_regard_to_case_and_space(source):
    plan = plan_names(["Sales", "Order ID"], {source: "Revenue"})
    assert plan.names == ("revenue", "order_id")
    assert plan.mapping == {"Sales": "revenue"}


def test_an_exact_match_is_preferred_to_one_in_another_case():
    assert plan_names(["sales", "Sales"], {"Sales": "revenue"}).names == ("sales", "revenue")


def test_a_mapped_name_is_kept_and_the_column_that_had_it_is_renamed():
    plan = plan_names(["revenue", "Sales"], {"Sales": "revenue"})
    assert plan.names == ("revenue_2", "revenue")
    assert any("revenue_2" in finding.detail for finding in plan.findings)


def test_a_mapping_of_a_column_that_is_not_there_names_the_columns_and_the_nearest():
    with pytest.raises(InvalidInput) as caught:
        plan_names(["Sales", "Order ID"], {"Slaes": "revenue"})
    assert "Sales, Order ID" in caught.value.message
    assert "'Sales'" in caught.value.hint


@pytest.mark.parametrize(
    "mapping",
    [{"Sales": "revenue", "Amount": "revenue"}, {"Sales": "revenue", "sales": "order_id"}, {"Sales": "  "}],
    ids=["one name", "two names", "no name"],
)
def test_a_mapping_that_contradicts_itself_is_refused(mapping):
    with pytest.raises(InvalidInput, match="mapping"):
        plan_names(["Sales", "Amount"], mapping)


@pytest.mark.parametrize(
    ("headers", "suggestions"),
    [
        (["Order ID", "Sales"], {"Sales": "revenue"}),
        (["Bestellnummer", "Umsatz"], {"Umsatz": "revenue", "Bestellnummer": "order_id"}),
        (["OrderId", "Net Sales"], {"Net Sales": "revenue", "OrderId": "order_id"}),
        (["Revenue (USD)", "Order No"], {"Revenue (USD)": "revenue", "Order No": "order_id"}),
        (["x", "y"], {}),
    ],
)
def test_a_missing_required_column_names_what_was_found_and_suggests_a_mapping(headers, suggestions):
    plan = plan_names(headers, {})
    with pytest.raises(InvalidInput) as caught:
        require_columns(plan, headers)
    assert all(header in caught.value.message for header in headers)
    assert caught.value.details["suggestions"] == suggestions
    assert all(f'--map "{source}={name}"' in caught.value.hint for source, name in suggestions.items())
    assert "--map" in caught.value.hint
