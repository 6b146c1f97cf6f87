"""One script per page. Streamlit runs them; what they share is in the modules beside this folder."""
