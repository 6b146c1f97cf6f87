"""What an org may use within 24 hours, and what it has used. Sources: REST guide, Limits and the Sforce-Limit-Info header."""

from typing import Any

from treadle.sandbox.salesforce.workshop import Workshop

_HOURS = 24


class Allocations:
    """Counts by the hour, so that the window rolls on with the clock; the counts outlast a restart."""

    def __init__(self, workshop: Workshop) -> None:
        self._records, self._clock, self._options = workshop.records, workshop.clock, workshop.options

    def use(self, name: str, count: int = 1) -> None:
        """Note a use, within the allocation or not."""
        self._records.rows("use", allocation=name, hour=self._hour(), used=count)

    def used(self) -> dict[str, int]:
        """What was used in the last 24 hours, by name."""
        return {row["name"]: row["used"] for row in self._records.rows("used", since=self._hour() - _HOURS)}

    def remaining(self, name: str) -> int:
        """What is left; never below 0."""
        return max(0, self._options.daily[name] - self.used().get(name, 0))

    def describe(self) -> dict[str, Any]:
        """The answer of the limits resource."""
        used = self.used()
        return {name: {"Max": most, "Remaining": max(0, most - used.get(name, 0))} for name, most in self._options.daily.items()}

    def in_header(self) -> str:
        """`api-usage=used/max`."""
        return f"api-usage={self.used().get('DailyApiRequests', 0)}/{self._options.daily['DailyApiRequests']}"

    def _hour(self) -> int:
        return int(self._clock.now().timestamp()) // 3600
