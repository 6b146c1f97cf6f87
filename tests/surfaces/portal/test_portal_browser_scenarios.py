"""Scenarios in Debian's Chromium, on the real stack: from the archives over the job to the graph, its documents and its end; and their pictures."""

import contextlib
import re
from pathlib import Path

import pytest
from dotenv import dotenv_values
from playwright.sync_api import Page, expect

from tests.surfaces.portal.browsing import Stack, expect_no_defect, expect_said
from tests.surfaces.portal.test_portal_browser_pictures import look_at, look_at_both
from tests.unit.scenario_archives import TELCO, small, tar_gz, telco

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.xdist_group("browser")]

DOCUMENTS = {"runbooks": "knowledge/runbooks", "tickets": "knowledge/tickets", "prompts": "prompts"}  # slot → folder of the sample


@pytest.fixture
def archives(tmp_path: Path) -> dict[str, Path]:
    """The archives of telco-noc, by slot."""
    contents = {"graph": telco("entities"), "telemetry": telco("telemetry")}
    contents |= {
        slot: tar_gz({file.name: file.read_bytes() for file in (TELCO / "data" / folder).iterdir()}) for slot, folder in DOCUMENTS.items()
    }
    paths = {slot: tmp_path / f"telco-{slot}.tar.gz" for slot in contents}
    for slot, path in paths.items():
        path.write_bytes(contents[slot])
    return paths


@pytest.fixture
def connected(stack: Stack, visit) -> Page:
    """Olga's browser on the page Scenarios, with the sandbox's workspace connected."""
    workspace = str(dotenv_values(stack.state / "treadle.env", interpolate=False)["FABRIC_WORKSPACE_ID"])
    page = visit("olga", "connections")
    expect(page.get_by_role("heading", name="Connections", exact=True)).to_be_visible()
    if page.get_by_text(workspace).count() == 0:
        page.get_by_label("Workspace", exact=True).fill(f"https://app.fabric.microsoft.com/groups/{workspace}/list")
        page.get_by_role("button", name="Add", exact=True).click()
        expect_said(page, workspace)
    page.goto(f"{stack.url}/scenarios")
    return page


def drop(page: Page, slot: int, file: Path) -> None:
    """Bring a file to one of the five fields of the dialog, and wait until it is there."""
    page.get_by_role("dialog").locator("input[type=file]").nth(slot).set_input_files(str(file))
    expect(page.get_by_role("dialog").get_by_role("button", name=f"Remove {file.name}")).to_be_visible()


def begin_to_add(page: Page) -> None:
    page.get_by_role("button", name="Add scenario").click()
    expect(page.get_by_role("dialog").get_by_label("Workspace")).to_be_visible()


def view(page: Page, name: str) -> None:
    """Go to one of the views of the scenario."""
    page.get_by_role("radio", name=name, exact=True).click()


def choose_first_row(page: Page) -> None:
    """A table that is just being drawn anew loses a click."""
    for _ in range(3):
        page.get_by_test_id("stDataFrame").first.click(position={"x": 16, "y": 52})
        with contextlib.suppress(AssertionError):
            expect(page.get_by_test_id("stCode")).to_be_visible(timeout=15_000)
            return


@pytest.mark.timeout(600)
def test_a_scenario_goes_from_its_archives_to_its_graph_its_documents_and_its_end(connected, stack, archives):
    page = connected
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    begin_to_add(page)
    for slot, (_, file) in enumerate(archives.items()):
        drop(page, slot, file)
    expect_said(page, re.compile(r"\d+ to create"))
    page.get_by_role("button", name="Build telco-noc").click()
    expect(page).to_have_url(re.compile(r"/scenario\?scenario=telco-noc"))
    expect(page.get_by_role("dialog")).to_have_count(0)

    page.goto(f"{stack.url}/monitor")
    expect_said(page, re.compile("Building telco-noc|telco-noc waits"))
    page.goto(f"{stack.url}/scenario?scenario=telco-noc")
    page.reload()
    expect(page.get_by_role("heading", name="Australian Telco NOC", exact=False)).to_be_visible(timeout=300_000)  # without a hand's help
    expect_said(page, re.compile("12 tables, .* rows"))

    view(page, "Model")
    expect(page.get_by_test_id("stGraphVizChart").get_by_text("TransportLink")).to_be_visible()
    view(page, "Graph")
    page.get_by_role("button", name="TransportLink connects to CoreRouter").click()
    expect(page.get_by_test_id("stGraphVizChart").locator("g.node").first).to_be_visible()
    expect_said(page, re.compile(r"\d+ rows in"))

    view(page, "Documents")
    expect_said(page, "10 documents")
    page.get_by_role("searchbox", name="Search").fill("transceiver")
    expect_said(page, re.compile("^1 document$"))
    choose_first_row(page)
    expect(page.get_by_test_id("stCode")).to_contain_text("suspect the transceiver")

    page.goto(f"{stack.url}/scenarios")
    begin_to_add(page)
    drop(page, 0, archives["graph"])
    expect_said(page, "Nothing would change")
    page.keyboard.press("Escape")

    page.goto(f"{stack.url}/scenario?scenario=telco-noc")
    page.get_by_role("button", name="Remove", exact=True).click()
    expect_said(page, "will be removed")
    really = page.get_by_role("button", name="Remove it")
    expect(really).to_be_disabled()
    page.get_by_role("dialog").get_by_role("textbox").fill("telco-noc")
    page.keyboard.press("Enter")
    really.click()
    expect_said(page, "No such scenario")
    expect_no_defect(page)
    assert alerts == []


@pytest.mark.timeout(240)
def test_faults_are_told_in_the_dialog_and_a_viewer_only_looks(connected, stack, visit, tmp_path):
    page = connected
    faulty = tmp_path / "shop.tar.gz"
    faulty.write_bytes(small(Order_csv="OrderId,ShopId,Amount\nO1,S9,1\nO1,S1,x\n"))
    begin_to_add(page)
    drop(page, 0, faulty)
    expect_said(page, "have to be mended first")
    expect(page.get_by_role("button", name=re.compile("^Build"))).to_have_count(0)
    other = visit("vic", "scenarios")
    expect(other.get_by_role("button", name="Add scenario")).to_be_disabled()
    expect_said(other, "takes the role operator")


@pytest.mark.timeout(400)
def test_values_that_want_to_be_more_than_values_are_drawn_as_they_are(connected, stack, tmp_path):
    page = connected
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    key = 'S1"];n9[URL="javascript:alert(1)"];<img src=x onerror=alert(1)>&lt;'
    quoted_key = '"' + key.replace('"', '""') + '"'
    file = tmp_path / "shop.tar.gz"
    file.write_bytes(small(Shop_csv=f"ShopId,City\n{quoted_key},Sydney\n", Order_csv=f"OrderId,ShopId,Amount\nO1,{quoted_key},1\n"))
    begin_to_add(page)
    for label in ("Lakehouse", "Ontology"):
        page.get_by_role("dialog").get_by_label(label).fill(f"shop_{label.lower()}")
        page.keyboard.press("Tab")
    drop(page, 0, file)
    page.get_by_role("button", name="Build shop").click()
    expect(page.get_by_role("heading", name="A shop")).to_be_visible(timeout=300_000)
    page.goto(f"{stack.url}/scenario?scenario=shop&view=Graph")
    page.get_by_role("button", name="Order placed at Shop").click()
    chart = page.get_by_test_id("stGraphVizChart")
    expect(chart.get_by_text(key[:20], exact=False)).to_be_visible()
    assert chart.locator("g.node").count() == 2
    assert chart.locator("a[*|href^='javascript'], img, script").count() == 0
    assert alerts == []


@pytest.mark.timeout(600)
def test_the_pages_of_scenarios_have_pictures_in_the_manual(connected, stack, visit, archives):
    """Built by the command line; what the pages show then."""
    page = connected
    begin_to_add(page)
    for slot, (_, file) in enumerate(archives.items()):
        drop(page, slot, file)
    expect_said(page, re.compile(r"\d+ to create|Nothing would change"))
    if page.get_by_text("Nothing would change").count() == 0:
        expect(page.get_by_role("dialog").locator("[data-testid=stDataFrame] canvas").first).to_be_visible()  # its script comes late
    look_at(page, "scenario-add-light-1440")
    page.get_by_role("button", name=re.compile("^(Build|Update) telco-noc")).click()
    expect(page.get_by_role("heading", name="Australian Telco NOC", exact=False)).to_be_visible(timeout=300_000)
    for width in (1440, 390):
        page = visit("olga", width=width)
        for name, address, last in (
            ("scenarios", "scenarios", "Open telco-noc"),
            ("scenario", "scenario?scenario=telco-noc", "Where it is"),
            ("scenario-model", "scenario?scenario=telco-noc&view=Model", "Relationship types"),
            ("scenario-graph", "scenario?scenario=telco-noc&view=Graph", "Queries that fit"),
            ("scenario-documents", "scenario?scenario=telco-noc&view=Documents", "10 documents"),
            ("connections", "connections", "Active"),
        ):
            page.goto(f"{stack.url}/{address}")
            expect_said(page, last)
            if name == "scenario-graph":
                page.get_by_role("button", name="TransportLink connects to CoreRouter").click()
                expect(page.get_by_test_id("stGraphVizChart").locator("g.node").first).to_be_visible()
            if name == "scenario-documents":
                choose_first_row(page)
            look_at_both(page, name, width)
