"""Keys that another system kept as slow hashes: one slow hash for each, and none for strangers."""

import base64
import hashlib
import hmac
import json
import logging
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from pytest import MonkeyPatch
from pytest_django import Settings

from audit import ledger
from audit.events import EventName
from audit.models import Event, local_now
from tests.conftest import at_once
from tests.peers.conftest import their_folder
from tests.stack import until
from tools import imported_keys, keys
from tools.errors import KeyRefused
from tools.imported_keys import SlowHash, TooManyFirstUses, find
from tools.models import ApiKey

HERE, ELSEWHERE = "203.0.113.7", "203.0.113.8"

__all__ = ["their_folder"]

pytestmark = pytest.mark.django_db

MAKE_THEIRS = """
import json
from toolrampart import generate_api_key, hash_api_key
made = [generate_api_key() for _ in range(21)]
print(json.dumps([(text, hash_api_key(text)) for text in made]))
"""
SALT, DIGEST = "c2FsdC1vZi10aGUtdGVzdHM", "A" * 43 + "="

Theirs = list[tuple[str, str]]


@pytest.fixture(scope="session")
def theirs(their_folder: Path) -> Theirs:
    """Twenty-one keys, made and hashed by the package itself."""
    made = subprocess.run(
        [their_folder / "bin" / "python", "-I", "-c", MAKE_THEIRS],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [(text, slow_hash) for text, slow_hash in json.loads(made.stdout)]


@pytest.fixture
def twenty(theirs: Theirs, owner: User) -> list[str]:
    """Twenty of them wait for their first use, as key-0 to key-19; their texts."""
    for number, (_, slow_hash) in enumerate(theirs[:20]):
        waiting(f"key-{number}", slow_hash, owner)
    return [text for text, _ in theirs[:20]]


def waiting(key_id: str, slow_hash: str, owner: User) -> ApiKey:
    """A row as the import makes it."""
    return ApiKey.objects.create(
        prefix=f"trp_{key_id}", imported_id=key_id, slow_hash=slow_hash, actor=f"actor of {key_id}",
        owner=owner, scopes=["x"], must_rotate=True, expires_at=local_now() + timedelta(days=30),
    )  # fmt: skip


@pytest.fixture
def slow_hashes(monkeypatch: MonkeyPatch) -> Iterator[list[int]]:
    """The iterations of each slow hash that is computed; it is computed nevertheless."""
    computed: list[int] = []
    compute = hashlib.pbkdf2_hmac

    def counted(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        computed.append(iterations)
        return compute(name, password, salt, iterations)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted)
    yield computed


# Their hashes.


def test_a_hash_that_they_made_is_matched_by_its_own_text_alone(theirs: Theirs) -> None:
    (text, slow_hash), (other, _) = theirs[:2]
    read = SlowHash.parse(slow_hash)
    assert read.iterations == 210_000
    assert read.matches(text)
    assert not read.matches(other) and not read.matches(text + " ") and not read.matches("")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "algorithm"),
        ("trp_plaintext", "algorithm"),
        (f"pbkdf2_sha1$210000${SALT}${DIGEST}", "algorithm"),
        (f"PBKDF2_SHA256$210000${SALT}${DIGEST}", "algorithm"),
        (f"pbkdf2_sha256$210000${SALT}", "it is not"),
        (f"pbkdf2_sha256$0210000${SALT}${DIGEST}", "it is not"),
        (f"pbkdf2_sha256$-210000${SALT}${DIGEST}", "it is not"),
        (f"pbkdf2_sha256$٢١٠٠٠٠${SALT}${DIGEST}", "it is not"),
        (f"pbkdf2_sha256$${SALT}${DIGEST}", "it is not"),
        (f"pbkdf2_sha256$210000$${DIGEST}", "it is not"),
        (f"pbkdf2_sha256$210000${SALT}${DIGEST[1:]}", "it is not"),
        (f"pbkdf2_sha256$210000${SALT}${DIGEST}\n", "it is not"),
        (f"pbkdf2_sha256$210000${'s' * 129}${DIGEST}", "it is not"),
        (f"pbkdf2_sha256${'9' * 5000}${SALT}${DIGEST}", "it is not"),
        (f"pbkdf2_sha256$99999${SALT}${DIGEST}", "too weak"),
        (f"pbkdf2_sha256$2000001${SALT}${DIGEST}", "hold up"),
    ],
)
def test_a_hash_that_is_no_good_is_refused_and_not_repeated(text: str, says: str) -> None:
    with pytest.raises(KeyRefused, match=f"^hash: .*{says}") as refused:
        SlowHash.parse(text)
    for part in (SALT, DIGEST[1:], "trp_plaintext"):
        assert part not in str(refused.value)


@pytest.mark.parametrize("iterations", [100_000, 2_000_000])
def test_a_hash_at_the_bounds_is_taken(iterations: int) -> None:
    assert SlowHash.parse(f"pbkdf2_sha256${iterations}${SALT}${DIGEST}").iterations == iterations


def test_a_hash_does_not_show_itself_by_accident() -> None:
    shown = repr(SlowHash.parse(f"pbkdf2_sha256$210000${SALT}${DIGEST}"))
    assert SALT not in shown and "210000" in shown and "digest" not in shown


def test_hashes_are_compared_in_constant_time(theirs: Theirs, monkeypatch: MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare_digest(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return left == right

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    text, slow_hash = theirs[0]
    assert not SlowHash.parse(slow_hash).matches(text + "!")
    ((made, kept),) = compared
    assert made != kept == base64.urlsafe_b64decode(slow_hash.split("$")[3])


# The first use.


@pytest.mark.feature("K4", "T12")
def test_the_first_use_takes_one_slow_hash_and_the_next_take_none(
    twenty: list[str], slow_hashes: list[int]
) -> None:
    first = find(twenty[7], "key-7")
    assert first is not None and first.imported_id == "key-7" and first.actor == "actor of key-7"
    assert slow_hashes == [210_000]
    row = ApiKey.objects.get(imported_id="key-7")
    assert (row.digest, row.slow_hash) == (keys.digest_of(twenty[7]), "")
    for key_id in ("key-7", "", "key-3", "nobody"):
        again = find(twenty[7], key_id)
        assert again is not None and again.pk == row.pk
    assert slow_hashes == [210_000]
    assert ApiKey.objects.exclude(slow_hash="").count() == 19


@pytest.mark.feature("K4", "U1")
def test_the_first_use_is_one_line_and_tells_no_secret(
    twenty: list[str], theirs: Theirs, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert find(twenty[0], "key-0") and find(twenty[0])
        assert find(twenty[0][:-1] + "!", "key-1") is None
    line = Event.objects.get()
    assert (line.event, line.actor, line.key_prefix, line.metadata) == (
        EventName.KEY_REHASHED, "actor of key-0", "trp_key-0", {"imported_id": "key-0"},
    )  # fmt: skip
    told = str([*Event.objects.values(), *ApiKey.objects.filter(digest__gt="").values()])
    for secret in (twenty[0][4:], *theirs[0][1].split("$")[2:]):
        assert secret not in told + caplog.text


@pytest.mark.feature("K4", "T12")
def test_who_does_not_name_a_key_has_none_and_costs_no_slow_hash(
    twenty: list[str], slow_hashes: list[int], django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        assert find(twenty[0]) is None
    assert slow_hashes == []
    assert not ApiKey.objects.filter(digest__gt="").exists()


@pytest.mark.feature("T12", "I1")
@pytest.mark.parametrize("named", ["key-19", "nobody", "used"])
def test_a_bad_key_among_twenty_costs_one_slow_hash_whatever_it_names(
    twenty: list[str], theirs: Theirs, owner: User, slow_hashes: list[int], named: str
) -> None:
    """Known and unknown names take the same, so that the time tells nobody which there are."""
    used, slow_hash = theirs[20]
    waiting("used", slow_hash, owner)
    assert find(used, "used")
    slow_hashes.clear()
    with CaptureQueriesContext(connection) as queries:
        assert find("trp_" + "A" * 43, named) is None
    assert slow_hashes == [210_000]
    assert len(_looked_up(queries)) == 3
    assert ApiKey.objects.exclude(slow_hash="").count() == 20


def test_a_right_secret_under_another_name_is_refused(twenty: list[str]) -> None:
    for named in ("key-1", "nobody"):
        assert find(twenty[0], named) is None
    assert not ApiKey.objects.filter(digest__gt="").exists()


@pytest.mark.feature("T12")
def test_where_no_key_waits_nobody_pays_for_a_slow_hash(
    theirs: Theirs, owner: User, slow_hashes: list[int], django_assert_num_queries: Any
) -> None:
    text, slow_hash = theirs[0]
    waiting("key-0", slow_hash, owner)
    assert find(text, "key-0")
    slow_hashes.clear()
    with django_assert_num_queries(2):
        assert find("trp_" + "A" * 43, "key-0") is None
    assert slow_hashes == []


@pytest.mark.feature("T12")
@pytest.mark.parametrize("how", ["expired", "revoked", "orphaned"])
def test_a_key_that_is_not_usable_is_not_waited_for(
    theirs: Theirs, owner: User, slow_hashes: list[int], how: str
) -> None:
    """Else strangers could have hashes computed for ever, long after the move."""
    text, slow_hash = theirs[0]
    row = waiting("key-0", slow_hash, owner)
    match how:
        case "expired":
            ApiKey.objects.filter(pk=row.pk).update(expires_at=local_now())
        case "revoked":
            ApiKey.objects.filter(pk=row.pk).update(revoked_at=local_now())
        case "orphaned":
            User.objects.filter(pk=owner.pk).update(is_active=False)
    assert find(text, "key-0") is None
    assert slow_hashes == []


def test_an_imported_key_that_was_revoked_after_its_first_use_is_found_as_it_is(
    twenty: list[str],
) -> None:
    """Whoever holds the secret is told why it is refused: that is not decided here."""
    assert find(twenty[0], "key-0")
    ApiKey.objects.filter(imported_id="key-0").update(revoked_at=local_now())
    found = find(twenty[0])
    assert found is not None and found.revoked_at is not None


@pytest.mark.parametrize("text", ["", "dev-secret", "A" * 15])
def test_a_secret_that_somebody_made_up_is_refused_and_not_hashed(
    owner: User, slow_hashes: list[int], text: str
) -> None:
    digest = hashlib.pbkdf2_hmac("sha256", text.encode(), SALT.encode(), 100_000)
    slow_hashes.clear()
    encoded = base64.urlsafe_b64encode(digest).decode()
    waiting("weak", f"pbkdf2_sha256$100000${SALT}${encoded}", owner)
    assert find(text, "weak") is None
    assert slow_hashes == []


@pytest.mark.parametrize("key_id", ["", " ", " key-0", "key-0\x00", "ключ", "k" * 201, "a\nb"])
def test_a_name_that_no_header_can_carry_costs_nothing(
    twenty: list[str], slow_hashes: list[int], django_assert_num_queries: Any, key_id: str
) -> None:
    with django_assert_num_queries(1):
        assert find(twenty[0], key_id) is None
    assert slow_hashes == []


def test_keys_of_our_own_are_not_found_as_imported_ones(twenty: list[str], owner: User) -> None:
    new = keys.new_key()
    ApiKey.objects.create(
        prefix=new.prefix, digest=new.digest, actor="a", owner=owner, scopes=["x"]
    )
    assert find(new.text) is None


# The index.


@pytest.mark.feature("T12")
def test_among_ten_thousand_keys_both_questions_are_answered_by_the_index(
    twenty: list[str], owner: User
) -> None:
    ApiKey.objects.bulk_create(
        (
            ApiKey(
                prefix=f"p{n}", digest=keys.digest_of(str(n)), actor="a", owner=owner, scopes=["x"],
                imported_id=f"used-{n}",
            )
            for n in range(10_000)
        ),
        batch_size=1000,
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tools_apikey")
    with CaptureQueriesContext(connection) as queries:
        assert find(twenty[0][:-1] + "!", "key-0") is None
    looked_up = _looked_up(queries)
    assert len(looked_up) == 3
    for sql in looked_up:
        assert "imported_keys_by_digest" in _plan_of(sql)


def _looked_up(queries: CaptureQueriesContext) -> list[str]:
    """What was asked of the keys; where there is no Redis, the try is counted in a row as well."""
    return [query["sql"] for query in queries if 'FROM "tools_apikey"' in query["sql"]]


def _plan_of(sql: str) -> str:
    verb = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    with connection.cursor() as cursor:
        cursor.execute(f"{verb} {sql}".replace("%", "%%"))
        return "\n".join(str(row) for row in cursor.fetchall())


# At the same time.


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.feature("K4")
def test_two_first_uses_at_once_are_both_let_in_and_written_once(
    theirs: Theirs, owner: User
) -> None:
    """Both have hashed and are about to write: the row is held until the second is there."""
    text, slow_hash = theirs[0]
    row = waiting("key-0", slow_hash, owner)
    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            ApiKey.objects.select_for_update().get(pk=row.pk)
            both = [pool.submit(_find_in_a_thread, text, "key-0") for _ in range(2)]
            until(lambda: _waiters_for_the_row() == 2)
        found = [one.result(30) for one in both]
    assert [one and one.imported_id for one in found] == ["key-0", "key-0"]
    assert [one and one.digest for one in found] == [keys.digest_of(text)] * 2
    assert Event.objects.filter(event=EventName.KEY_REHASHED).count() == 1


def _find_in_a_thread(text: str, key_id: str) -> ApiKey | None:
    try:
        return find(text, key_id)
    finally:
        connections.close_all()


def _waiters_for_the_row() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return int(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
@pytest.mark.feature("K4")
def test_three_first_uses_of_one_key_at_once_take_one_turn_after_the_other(
    theirs: Theirs, owner: User
) -> None:
    text, slow_hash = theirs[0]
    waiting("key-0", slow_hash, owner)
    found = at_once(3, lambda _: find(text, "key-0"))
    assert [one.imported_id for one in found] == ["key-0"] * 3
    assert Event.objects.filter(event=EventName.KEY_REHASHED).count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.feature("T12")
def test_a_flood_has_one_slow_hash_at_a_time_and_a_short_queue(
    twenty: list[str], monkeypatch: MonkeyPatch
) -> None:
    at_work, most, go_on = [], [0], threading.Event()
    compute = hashlib.pbkdf2_hmac

    def held(*arguments: Any) -> bytes:
        at_work.append(1)
        most[0] = max(most[0], len(at_work))
        assert go_on.wait(30)
        at_work.pop()
        return compute(*arguments)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", held)
    monkeypatch.setattr(imported_keys, "SECONDS_TO_WAIT", 60.0)
    with ThreadPoolExecutor(3) as pool:
        queue = [pool.submit(_find_in_a_thread, twenty[n], f"key-{n}") for n in range(3)]
        until(lambda: imported_keys._places._value == 0)
        until(lambda: at_work)
        for number in range(3, 20):
            with pytest.raises(TooManyFirstUses):
                find(twenty[number], f"key-{number}", HERE)
        go_on.set()
        assert all(one.result(30) for one in queue)
    assert most == [1]
    assert find(twenty[3], "key-3", ELSEWHERE)


@pytest.mark.feature("I10", "K4", "T12")
def test_an_address_gets_so_many_slow_hashes_a_minute_and_others_are_not_kept_waiting(
    twenty: list[str], slow_hashes: list[int], settings: Settings
) -> None:
    settings.RAMPART_GUESSES_PER_MINUTE = 2
    for _ in range(2):
        assert find("a-secret-of-nobody-at-all", "key-0", HERE) is None
    with pytest.raises(TooManyFirstUses):
        find(twenty[0], "key-0", HERE)
    assert len(slow_hashes) == 2
    assert find(twenty[0], "key-0", ELSEWHERE)
    assert find(twenty[0], "key-0", HERE), "after its first use it needs none"


@pytest.mark.django_db(transaction=True)
def test_who_waits_too_long_for_a_turn_is_asked_to_come_again(
    twenty: list[str], monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(imported_keys, "SECONDS_TO_WAIT", 0.01)
    with imported_keys._hashing, pytest.raises(TooManyFirstUses):
        find(twenty[0], "key-0")
    assert find(twenty[0], "key-0")


def test_a_hash_that_fails_gives_its_turn_back(twenty: list[str], monkeypatch: MonkeyPatch) -> None:
    def broken(*arguments: Any) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "pbkdf2_hmac", broken)
        for _ in range(5):
            with pytest.raises(MemoryError):
                find(twenty[0], "key-0")
    assert find(twenty[0], "key-0")


@pytest.mark.feature("K4", "U1")
def test_a_first_use_that_cannot_be_recorded_did_not_happen(
    twenty: list[str], monkeypatch: MonkeyPatch
) -> None:
    def down(*arguments: Any, **named: Any) -> None:
        raise OperationalError("the ledger is away")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "record", down)
        with pytest.raises(OperationalError):
            find(twenty[0], "key-0")
    row = ApiKey.objects.get(imported_id="key-0")
    assert row.digest == "" and row.slow_hash != ""
    assert find(twenty[0], "key-0")


def test_a_key_revoked_while_its_first_use_was_checked_is_returned_as_revoked(
    theirs: Theirs, owner: User, monkeypatch: MonkeyPatch
) -> None:
    """The hash takes long enough for a person to press a button."""
    text, slow_hash = theirs[0]
    row = waiting("key-0", slow_hash, owner)
    compute = hashlib.pbkdf2_hmac

    def meanwhile(*arguments: Any) -> bytes:
        ApiKey.objects.filter(pk=row.pk).update(revoked_at=local_now())
        return compute(*arguments)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", meanwhile)
    found = find(text, "key-0")
    assert found is not None and found.revoked_at is not None
