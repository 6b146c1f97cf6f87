"""The parts of the pages Scenarios, Scenario and Connections: adding and removing, what goes on, tables, model, graph and documents."""
