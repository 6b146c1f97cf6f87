"""What this process has done, in numbers that Prometheus reads. Labels are routes and words of ours, never names or ids."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """A registry of its own for each app, so that two in one process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("treadle_requests", "Requests answered", ("method", "route", "status"), registry=self._registry)
        self._seconds = Histogram(
            "treadle_request_seconds",
            "Seconds until an answer was complete",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.listeners: Gauge = Gauge("treadle_event_listeners", "Open event streams", registry=self._registry)
        self.polls: Counter = Counter("treadle_event_polls", "Looks for new events, each for all listeners", registry=self._registry)
        self.upload_bytes: Counter = Counter("treadle_upload_bytes", "Bytes of uploads brought to the lake", registry=self._registry)
        self.uploads_open: Gauge = Gauge("treadle_uploads_receiving", "Uploads that are receiving bytes", registry=self._registry)

    def request_answered(self, method: str, route: str, status: int, elapsed_seconds: float) -> None:
        """Count one answer. status 0: the caller went away before there was one."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(elapsed_seconds)

    def as_text(self) -> bytes:
        """The exposition in CONTENT_TYPE."""
        return generate_latest(self._registry)
