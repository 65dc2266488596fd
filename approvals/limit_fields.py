"""The RateLimit fields of an answer, as draft-ietf-httpapi-ratelimit-headers-11 has them."""

from collections.abc import Sequence

from tools.rate_limits import Standing


def limit_fields(standings: Sequence[Standing]) -> dict[str, str]:
    """`RateLimit-Policy` (quota, window) and `RateLimit` (remaining, seconds until there is more).

    Each limit is named by its scope; a second one of the same scope, by its whole text.
    """
    if not standings:
        return {}
    policies, quotas = {}, {}
    for standing in standings:
        limit = standing.limit
        name = limit.text if limit.scope in policies else str(limit.scope)
        policies[name] = f'"{name}";q={limit.count};w={limit.seconds}'
        quotas[name] = f'"{name}";r={standing.remaining};t={standing.whole_seconds}'
    return {
        "RateLimit-Policy": ", ".join(policies.values()),
        "RateLimit": ", ".join(quotas.values()),
    }
