"""Fragments that run again by the clock, and their end."""

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState


def stop_ticking() -> None:
    """Let the fragment that runs now run no more by the clock; nothing happens where none does.

    Streamlit ends such a clock by itself when the whole page runs again, and has no other word for it. But that would close a dialog that somebody
    has open, just because somebody else's run has ended; so the browser is told what Streamlit tells it when a fragment is no longer drawn.
    """
    context, fragment_id = get_script_run_ctx(), ThreadState.get().fragment_id
    if context and fragment_id:
        message = ForwardMsg()
        message.stop_auto_rerun.fragment_ids.append(fragment_id)
        context.enqueue(message)
