"""Where an address leads, told from the address alone. Pure."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def leads_elsewhere(url: str) -> bool:
    """Whether an address is beyond this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
