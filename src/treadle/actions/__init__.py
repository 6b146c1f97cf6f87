"""Everything that a person may do, each once: who may, what happens, what the audit says. API, CLI and portal come through here."""
