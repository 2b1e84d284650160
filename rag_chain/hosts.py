"""Which addresses are of this machine alone."""

from ipaddress import ip_address


def is_local(host: str) -> bool:
    """Return whether an address is of this machine alone."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
