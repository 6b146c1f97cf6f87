# Fabric notebook source

# METADATA ********************

# META {
# META   "kernel_info": {
# META     "name": "jupyter",
# META     "jupyter_kernel_name": "python3.11"
# META   },
# META   "dependencies": {
# META     "lakehouse": {
# META       "default_lakehouse": "6d4a1f0e-35b7-4a52-9a0c-2f7b8c1d9e43",
# META       "default_lakehouse_name": "sales",
# META       "default_lakehouse_workspace_id": "00000000-0000-0000-0000-000000000000",
# META       "known_lakehouses": [
# META         {
# META           "id": "6d4a1f0e-35b7-4a52-9a0c-2f7b8c1d9e43"
# META         }
# META       ]
# META     }
# META   }
# META }

# PARAMETERS CELL ********************

input_file = ""
run_id = ""
requested_by = ""
pipeline_run_id = ""

# METADATA ********************

# META {
# META   "language": "python",
# META   "language_group": "jupyter_python"
# META }

# CELL ********************

from treadle.flows.sales.ingest import ingest

ingest(input_file=input_file, run_id=run_id, requested_by=requested_by, pipeline_run_id=pipeline_run_id)

# METADATA ********************

# META {
# META   "language": "python",
# META   "language_group": "jupyter_python"
# META }
