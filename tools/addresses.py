"""Where a caller comes from: networks, and who is taken for one guesser."""

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

IPV6_NEIGHBOURHOOD = 64
"""Bits of an IPv6 address that tell one customer from another: the rest he chooses himself."""


def is_within(address: str, networks: Iterable[Network]) -> bool:
    """Whether the address is one, and in one of the networks."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


def neighbourhood(address: str) -> str | None:
    """The first of the addresses that are taken for one guesser; None if it is no address.

    That is an IPv4 address alone, or a network of IPv6 as a provider gives it to one customer.
    """
    parsed = _parsed(address)
    if parsed is None:
        return None
    bits = IPV6_NEIGHBOURHOOD if parsed.version == 6 else parsed.max_prefixlen
    return str(ipaddress.ip_network((parsed, bits), strict=False).network_address)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if parsed.version == 6 and parsed.ipv4_mapped:  # An IPv4 caller of a socket for both.
        return parsed.ipv4_mapped
    return parsed
