"""What a page says when there is nothing, nothing allowed, or something went wrong."""

from collections.abc import Generator
from contextlib import contextmanager

import streamlit as st
import structlog

from treadle.errors import PermissionDenied, TreadleError, Unavailable
from treadle.logs import redact, redact_value
from treadle.portal.next_steps import next_step
from treadle.portal.words import plain

log = structlog.get_logger()


def empty(title: str, sentence: str, *, icon: str = ":material/inbox:") -> None:
    """There is nothing to show yet, or nothing that fits: a title, and one sentence that says what to do."""
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown(f"#### {icon} {title}", text_alignment="center")
        st.caption(sentence, text_alignment="center")


def failed(error: TreadleError, *, again: str | None = None) -> None:
    """What happened, what this person can do next, and behind an expander the details for whoever helps.

    again: names the part of the page for a button that tries it once more when something is away for now; one such part a page is enough. None: no
    button, as where the part tries again by itself.
    """
    step = plain(redact(next_step(error)))
    if isinstance(error, PermissionDenied):
        st.warning(f"{plain(redact(error.message))}  \n{step}", icon=":material/lock:")
        return
    icon = ":material/cloud_off:" if isinstance(error, Unavailable) else ":material/error:"
    st.error(f"**{plain(redact(error.message))}**  \n{step}", icon=icon)
    if details := _details(error):
        with st.expander("Details", icon=":material/code:"):
            st.json(redact_value(details))
    if again and isinstance(error, Unavailable) and st.button("Try again", icon=":material/refresh:", key=f"again-{again}"):
        st.rerun()


def _details(error: TreadleError) -> dict[str, str]:
    """What is of use to whoever helps: the facts, and a hint that speaks to those who run Treadle."""
    facts = {name: str(value) for name, value in error.details.items()}
    return facts if not error.hint or error.hint == next_step(error) else {"hint": error.hint, **facts}


@contextmanager
def told(*, again: str | None = None) -> Generator[None]:
    """Say what goes wrong inside in the place where it would have been shown, and let the rest of the page go on. again: as for `failed`."""
    try:
        yield
    except TreadleError as error:
        log.warning("portal.told", error=error.message, kind=type(error).__name__)
        failed(error, again=again)


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
