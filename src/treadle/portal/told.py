"""What a page says when there is nothing, nothing allowed, or something went wrong."""

from collections.abc import Generator
from contextlib import contextmanager

import streamlit as st
import structlog

from treadle.errors import PermissionDenied, TreadleError, Unavailable
from treadle.logs import redact, redact_value
from treadle.portal.words import plain

log = structlog.get_logger()


def empty(title: str, sentence: str, *, icon: str = ":material/inbox:") -> None:
    """There is nothing to show yet, or nothing that fits: a title, and one sentence that says what to do."""
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown(f"#### {icon} {title}", text_alignment="center")
        st.caption(sentence, text_alignment="center")


def failed(error: TreadleError) -> None:
    """What happened, what to do next, and the details for whoever helps."""
    if isinstance(error, PermissionDenied):
        st.warning(f"{plain(redact(error.message))}  \n{plain(redact(error.hint or ''))}", icon=":material/lock:")
        return
    icon = ":material/cloud_off:" if isinstance(error, Unavailable) else ":material/error:"
    st.error(f"**{plain(redact(error.message))}**  \n{plain(redact(error.hint or ''))}", icon=icon)
    if error.details:
        with st.expander("Details", icon=":material/code:"):
            st.json(redact_value({name: str(value) for name, value in error.details.items()}))


@contextmanager
def told() -> Generator[None]:
    """Say what goes wrong inside in the place where it would have been shown, and let the rest of the page go on."""
    try:
        yield
    except TreadleError as error:
        log.warning("portal.told", error=error.message, kind=type(error).__name__)
        failed(error)


def script_failed(error: Exception) -> bool:
    """A defect of ours: what a person sees instead of a stack. Streamlit calls it for what nothing else has caught."""
    if isinstance(error, TreadleError):
        failed(error)
        return True
    reference = structlog.contextvars.get_contextvars().get("correlation_id", "")
    log.error("portal.crashed", exc_info=error)
    st.error(
        f"**This page broke.** It is a defect of Treadle; nothing was changed by it. Reload the page, or tell an admin: {type(error).__name__} {reference}",
        icon=":material/error:",
    )
    return True
