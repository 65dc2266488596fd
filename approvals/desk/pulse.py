"""What tells a browser whether a list is still as it was shown."""

from collections.abc import Callable, Mapping

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag


def pulse(
    request: HttpRequest, version: str, told: Callable[[], Mapping[str, str]] = dict
) -> HttpResponse:
    """304 until the list has another version than the one that the browser has; then `told`."""
    etag = quote_etag(version)
    unchanged = get_conditional_response(request, etag=etag)
    if unchanged is not None:
        return unchanged
    return JsonResponse(dict(told()), headers={"ETag": etag})
