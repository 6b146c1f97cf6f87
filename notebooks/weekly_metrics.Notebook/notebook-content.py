# Fabric notebook source

# METADATA ********************

# META {
# META   "kernel_info": {
# META     "name": "synapse_pyspark"
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

week_start = ""
week_end = ""
base_path = "Files/reverse_etl"
spend_event_types = "purchase"

# METADATA ********************

# META {
# META   "language": "python",
# META   "language_group": "synapse_pyspark"
# META }

# CELL ********************

from datetime import date

from treadle.flows.weekly.spark import run_metrics
from treadle.flows.weekly.week import Week

week = Week(date.fromisoformat(week_start), date.fromisoformat(week_end))
events = f"{base_path}/raw_events/{week.folder}/events.parquet"
spend_types = frozenset(name.strip() for name in spend_event_types.split(","))
run_metrics(spark, events, week, f"{base_path}/customer_metrics/{week.folder}", spend_types)

# METADATA ********************

# META {
# META   "language": "python",
# META   "language_group": "synapse_pyspark"
# META }
