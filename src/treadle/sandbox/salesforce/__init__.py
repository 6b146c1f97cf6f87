"""A stand-in for one Salesforce org: OAuth, records, describe, a little SOQL, Collections and Bulk API 2.0 ingest.

Wire in `routes*.py`, rules and state in the other modules. Sources are named beside each rule: the REST API Developer Guide ("REST guide"), the
Bulk API 2.0 guide ("Bulk guide", developer.salesforce.com/docs/platform/api-asynch/guide), Salesforce Help, and what vendors' clients were seen to do.
"""
