"""ToolRampart's check of hashed keys, alone; run by the environment that has it, never imported.

A line of standard input is `[keys, which, times]`; the answer is a line with the seconds that each
of so many checks took, among so many keys, of a key that is `good` and stands last, or `bad`.
"""

import json
import sys
import time

from toolrampart import generate_api_key, hash_api_key
from toolrampart.auth import HashedAPIKeyAuthenticator

MOST = 100


def main() -> None:
    """Answer line by line until there is no more to read."""
    good = generate_api_key()
    others = [hash_api_key(generate_api_key()) for _ in range(MOST - 1)]
    own = hash_api_key(good)
    for line in sys.stdin:
        count, which, times = json.loads(line)
        hashes = [*others[: count - 1], own]
        authenticator = HashedAPIKeyAuthenticator(
            {f"key-{n}": {"actor": "a", "scopes": ["x"], "hash": h} for n, h in enumerate(hashes)}
        )
        text = good if which == "good" else generate_api_key()
        headers = {"authorization": f"Bearer {text}"}
        taken = [seconds(authenticator, headers, which == "good") for _ in range(times)]
        print(json.dumps(taken), flush=True)


def seconds(
    authenticator: HashedAPIKeyAuthenticator, headers: dict[str, str], expected: bool
) -> float:
    """What one check takes."""
    begun = time.perf_counter()
    found = authenticator.authenticate(headers)
    taken = time.perf_counter() - begun
    assert (found is not None) == expected
    return taken


if __name__ == "__main__":
    main()
