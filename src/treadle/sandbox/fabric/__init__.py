"""Microsoft Fabric on your own machine: workspaces, items, long-running operations and jobs that run for real.

cloud.py has the tenant (`FabricCloud`, also OneLake's catalog), routes.py its operations (`fabric_routes(cloud, authenticate)`),
workshop.py what can be set while it runs (`cloud.options`). `cloud.stop()` kills what runs.
"""
