"""The script that Streamlit runs for each session: sign-in, navigation, the frame, and then one page."""

from pathlib import Path

import streamlit as st

from treadle.portal.frame import frame
from treadle.portal.scenarios.pill import scenario_pill
from treadle.portal.shared import portal
from treadle.portal.told import empty
from treadle.portal.visited import visit
from treadle.portal.who import principal, sign_in_has_ended, sign_out
from treadle.portal.words import plain

HERE = Path(__file__).parent


def pages() -> list[st.Page]:
    """Every page there is. One that is reached from others alone, by a link to one thing, stands in no menu."""
    folder = HERE / "app_pages"
    return [
        st.Page(_begin, title="Treadle", url_path="begin", default=True, visibility="hidden"),
        st.Page(folder / "import_file.py", title="Import", icon=":material/upload_file:", url_path="import"),
        st.Page(folder / "monitor.py", title="Monitor", icon=":material/monitor_heart:", url_path="monitor"),
        st.Page(folder / "results.py", title="Results", icon=":material/bar_chart:", url_path="results"),
        st.Page(folder / "archive.py", title="Archive", icon=":material/inventory_2:", url_path="archive"),
        st.Page(folder / "weekly.py", title="Weekly", icon=":material/calendar_month:", url_path="weekly"),
        st.Page(folder / "scenarios.py", title="Scenarios", icon=":material/hub:", url_path="scenarios"),
        st.Page(folder / "connections.py", title="Connections", icon=":material/cable:", url_path="connections"),
        st.Page(folder / "scenario.py", title="Scenario", icon=":material/hub:", url_path="scenario", visibility="hidden"),
        st.Page(folder / "run.py", title="Run", icon=":material/play_circle:", url_path="run", visibility="hidden"),
        st.Page(folder / "compare.py", title="Compare", icon=":material/compare_arrows:", url_path="compare", visibility="hidden"),
    ]


def main() -> None:
    """Draw what is the same for all pages, then the page."""
    st.set_page_config(page_title="Treadle", page_icon=str(HERE / "static" / "icon.svg"), layout="wide")
    st.logo(str(HERE / "static" / "logo.svg"), icon_image=str(HERE / "static" / "icon.svg"), size="large")
    who = principal()
    page = st.navigation(pages(), position="sidebar" if who else "hidden")  # what nobody may see yet needs no menu
    if who is None:
        _sign_in()
        return
    if not portal().local:
        st.sidebar.button("Sign out", icon=":material/logout:", on_click=sign_out, type="tertiary", key="sign-out")
    frame(who, scenario_pill)
    if who.role is None:
        empty("No role yet", f"{plain(who.name)} is known, but has no role here. Ask an admin for one.", icon=":material/lock:")
        return
    visit(page.url_path)
    page.run()


def _begin() -> None:
    """The address without a page. Streamlit gives its default page no address of its own, and a link to Import must work as any other."""
    st.switch_page(HERE / "app_pages" / "import_file.py")


def _sign_in() -> None:
    st.title("Treadle")
    if sign_in_has_ended():
        st.info("Your sign-in has ended. Sign in again to go on where you were.", icon=":material/schedule:")
    else:
        st.write("Data operations on Microsoft Fabric, run safely, with a paper trail.")
    st.button("Sign in", type="primary", icon=":material/login:", on_click=_leave_to_sign_in, key="sign-in")


def _leave_to_sign_in() -> None:
    st.login()


main()
