"""The keys that are out there."""

from audit.models import local_now
from rampart.checklist.items import Judgement, does_not_apply, fails, item, named, passes
from tools.models import ApiKey, ApiKeyQuerySet

MAKE_ONE = "docs/how-to/manage-keys.md#make-one"
REPLACE_ONE = "docs/how-to/manage-keys.md#replace-one-as-a-matter-of-routine"
EVERYTHING = "*"


def usable() -> ApiKeyQuerySet:
    """Keys that open something now; callers that come with tokens have none."""
    return ApiKey.objects.usable(local_now()).exclude(digest="", slow_hash="")


def no_key(faulty: list[str], finding: str, *, fix: str) -> Judgement:
    """Passes unless one of the usable keys is at fault."""
    if faulty:
        return fails(f"{finding}: {named(faulty)}", fix=fix)
    count = usable().count()
    if not count:
        return does_not_apply("there is no usable key")
    return passes(f"{count} usable {'key' if count == 1 else 'keys'} looked at")


@item("keys.expiry", "Keys expire", docs=MAKE_ONE)
def expiry() -> Judgement:
    endless = usable().filter(expires_at=None).values_list("prefix", flat=True)
    return no_key(
        list(endless),
        "never expire",
        fix="`manage.py rotate_key PREFIX`: the new key expires",
    )


@item("keys.scopes", "No key may do everything", docs=MAKE_ONE)
def scopes() -> Judgement:
    rows = usable().values_list("prefix", "scopes", "tools")
    return no_key(
        [prefix for prefix, scopes, tools in rows if EVERYTHING in scopes and not tools],
        "may call every tool",
        fix="make one with the scopes that its agent needs, then `manage.py revoke_key PREFIX`",
    )


@item("keys.imported", "Imported keys have been replaced", docs=REPLACE_ONE)
def imported() -> Judgement:
    old = usable().filter(must_rotate=True).values_list("prefix", flat=True)
    return no_key(
        list(old),
        "came from another system and are still in use",
        fix="`manage.py rotate_key PREFIX`",
    )
