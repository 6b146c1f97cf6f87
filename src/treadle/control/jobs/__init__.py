"""Durable background jobs: claimed under a lease, done in steps whose results are kept, told event by event.

`queue` is for those who ask and look, `run.JobContext` for the code of a kind, `worker.JobWorker` for the process that does the work.
"""
