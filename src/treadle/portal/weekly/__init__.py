"""The parts of the page Weekly: checkpoint and calendar, runs, rejects, the plan, what Salesforce took, and the questions before something starts."""
