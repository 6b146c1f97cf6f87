"""Bringing a file to the lake."""

import time
from collections.abc import Sequence
from typing import Any, Final, cast

import streamlit as st

from treadle.actions import files
from treadle.clients.onelake import LakeFile
from treadle.control.access import Right, allowed
from treadle.errors import InvalidInput, TreadleError
from treadle.flows.sales.input_file import EXTENSIONS, check_input_file
from treadle.portal import components, words
from treadle.portal.importing.looked_up import listing
from treadle.portal.importing.opened import open_file
from treadle.portal.shared import portal, services
from treadle.portal.told import failed, told
from treadle.portal.upload_limits import limits_told
from treadle.portal.who import current, needs_operator

UPLOADS: Final = "import-uploads"  # how many uploads this session has done: a new one begins with an empty field
FORMATS: Final = [extension.removeprefix(".") for extension in EXTENSIONS]
MEGABYTE: Final = 1024 * 1024  # as Streamlit takes a limit, and shows it


def upload(found: Sequence[LakeFile]) -> None:
    """A field for a new file, and what will happen to it."""
    st.subheader("Bring a file", anchor=False)
    who, limit = current(), portal().upload_bytes
    may = allowed(who, Right.FILES_WRITE)
    done = int(st.session_state.get(UPLOADS, 0))
    chosen = st.file_uploader(
        f"A file: {', '.join(FORMATS)}",
        type=FORMATS,
        max_upload_size=max(1, limit // MEGABYTE),
        key=f"upload-{done}",
        disabled=not may,
    )
    if not may:
        st.caption(f":material/lock: {needs_operator('To bring files', who)}")
    else:
        st.caption(limits_told(limit, services().sales.upload_limit_bytes, "treadle files upload FILE"))
    if chosen is None or not may:
        return
    name = str(st.text_input("Name in the lake", value=chosen.name, key=f"upload-name-{chosen.file_id}", max_chars=255)).strip()
    try:
        check_input_file(name)
    except InvalidInput as error:
        failed(error)
        return
    older = next((file for file in found if file.name == name), None)
    if older:
        changed = words.ago(older.modified_at, components.now())
        st.warning(
            f"**{words.plain(name)} is there already** ({words.size(older.size_bytes)}, changed {changed}). It is replaced as soon as the new one is"
            " whole; results that were made of the old one stay as they are. Another name keeps both.",
            icon=":material/file_copy:",
        )
    label, icon = ("Replace the file", ":material/sync:") if older else ("Upload", ":material/upload:")
    if st.button(label, icon=icon, type="primary", key="upload-start"):
        with told():
            send(cast("Any", chosen), name, overwrite=older is not None)


def send(source: Any, name: str, *, overwrite: bool) -> None:
    """Bring the bytes to the lake, saying how far they are, and open the file."""
    bar, began = st.progress(0.0, text="Sending…"), time.monotonic()

    def tell(done: int, total: int) -> None:
        speed = done / max(time.monotonic() - began, 0.001)
        bar.progress(
            min(done / max(total, 1), 1.0), text=f"{words.size(done)} of {words.size(total)} · {words.size(round(speed))} a second"
        )

    source.seek(0)
    try:
        files.upload_stream(services(), current(), source, name, overwrite=overwrite, progress=tell)
    except TreadleError:
        bar.empty()
        raise
    listing.clear()
    st.session_state[UPLOADS] = int(st.session_state.get(UPLOADS, 0)) + 1
    st.toast(f"{words.plain(name)} is in the lake.", icon=":material/cloud_done:")
    open_file(name)
