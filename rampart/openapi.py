"""`/schema` and `/docs`: the API described by OpenAPI 3.1, drawn from the table of operations."""

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiRequest, OpenApiResponse
from pydantic import BaseModel, Field
from rest_framework.permissions import SAFE_METHODS, AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.shapes import Shape
from rampart.operations import OPERATIONS, Answer, Examples, Operation
from rampart.problems import CODES, MEDIA_TYPE
from tools.credentials import KEY_HEADERS
from tools.trusted_headers import FAMILIES

BASE = "/api/v1"
JSON = "application/json"
PLAIN_VIEWS = ("health", "ready")

COMMON_HEADERS = {
    "X-Request-ID": {
        "description": "The caller's, if it was well formed, else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "RateLimit-Policy": {
        "description": "The limits that apply (draft-ietf-httpapi-ratelimit-headers).",
        "schema": {"type": "string"},
    },
    "RateLimit": {"description": "What is left of them.", "schema": {"type": "string"}},
}


class Problem(Shape):
    """What is no result of a call and not as asked: RFC 9457, and our `code` and `request_id`."""

    type: str
    """Leads to a page with the code's sentence."""
    title: str
    status: int
    code: Annotated[str, Field(json_schema_extra={"enum": list(CODES)})]
    """Stable."""
    detail: str
    """For people."""
    request_id: str


class Schema(AutoSchema):
    """Draws each operation from its row of the table."""

    @property
    def operation(self) -> Operation:
        return OPERATIONS[f"{self.method} {self.path.removeprefix(BASE)}"]

    def get_operation_id(self) -> str:
        return self.operation.id

    def get_tags(self) -> list[str]:
        return [self.operation.tag]

    def get_summary(self) -> str:
        return self.operation.summary

    def get_description(self) -> str:  # type: ignore[override]
        return self.operation.description

    def get_override_parameters(self) -> list[Any]:
        return [REQUEST_ID, CHALLENGE, PATIENCE, *self.operation.parameters]

    def get_request_serializer(self) -> Any:
        if self.operation.body is None:
            return None
        return {
            JSON: OpenApiRequest(self.operation.body, examples=_examples(self.operation.requests))
        }

    def get_response_serializers(self) -> Any:
        answers, problems = self.operation.answers, self.operation.problems
        drawn: dict[tuple[int, str], OpenApiResponse] = {}
        for status in sorted({*answers, *problems}):
            if status in answers:
                answer = answers[status]
                drawn[status, answer.media_type] = self._answer(status, answer)
            if status in problems:
                drawn[status, MEDIA_TYPE] = self._problem(status, problems[status])
        return drawn

    def _answer(self, status: int, answer: Answer) -> OpenApiResponse:
        narrowed = {"status": {"enum": list(answer.words)}} if answer.words else {}
        codes = self.operation.problems.get(status, ())
        return OpenApiResponse(
            self._narrowed(answer.shape, narrowed),
            description="\n".join([str(answer.shape.__doc__), "", *_lines(codes)]).strip(),
            examples=_examples(answer.examples),
        )

    def _problem(self, status: int, codes: tuple[str, ...]) -> OpenApiResponse:
        narrowed = {"status": {"const": status}, "code": {"enum": list(codes)}}
        schema = self._narrowed(Problem, narrowed)
        return OpenApiResponse(schema, description="\n".join(_lines(codes)))

    def _narrowed(self, shape: type[BaseModel], members: dict[str, Any]) -> dict[str, Any]:
        """The shape, where some of its members may be less than elsewhere."""
        described: Any = shape  # To its own resolver, an extension's class is as good.
        reference: dict[str, Any] = self.resolve_serializer(described, "response").ref
        return reference | ({"properties": members} if members else {})


REQUEST_ID = OpenApiParameter(
    "X-Request-ID", str, OpenApiParameter.HEADER,
    description="Kept if it is 1 to 128 of `A-Za-z0-9._-`, else replaced.",
)  # fmt: skip


PATIENCE = OpenApiParameter(
    "Retry-After", int, OpenApiParameter.HEADER,
    description="Seconds until it is worth asking again.", response=[429], required=True,
)  # fmt: skip


CHALLENGE = OpenApiParameter(
    "WWW-Authenticate", str, OpenApiParameter.HEADER,
    description="How to come back.", response=[401], required=True,
)  # fmt: skip


def _lines(codes: Iterable[str]) -> list[str]:
    """A line of the description for each problem."""
    return [f"- `{code}`: {CODES[code]}" for code in codes]


def _examples(values: Examples) -> list[OpenApiExample]:
    return [OpenApiExample(name, value) for name, value in values.items()]


# Who calls.


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A key, in one of three headers, or a token in the first."""

    target_class = "tools.authentication.CredentialAuthentication"
    name = ["bearer", *KEY_HEADERS]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, str]]:
        headers = [{"type": "apiKey", "in": "header", "name": name} for name in KEY_HEADERS]
        return [{"type": "http", "scheme": "bearer"}, *headers]

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[str]]]:
        return [{name: []} for name in self.name]


class ProxyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A trusted proxy's word, where the operator takes it."""

    target_class = "tools.authentication.ProxyAuthentication"
    name = "proxy"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {
            "type": "apiKey", "in": "header", "name": FAMILIES["rampart"][0],
            "description": f"From a trusted proxy alone, beside {FAMILIES['rampart'][1]}.",
        }  # fmt: skip


class PersonScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A person's session; to change anything, its CSRF token as well."""

    target_class = "tools.authentication.PersonAuthentication"
    name = ["session", "csrf"]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, str]]:
        return [
            {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME},
            {"type": "apiKey", "in": "header", "name": "X-CSRFToken"},
        ]

    def get_security_requirement(self, auto_schema: AutoSchema) -> dict[str, list[str]]:
        reads = auto_schema.method in SAFE_METHODS
        return {"session": []} if reads else {"session": [], "csrf": []}


# The document.


class PlainView(APIView):
    """Stands in the schema for health and readiness, which keep clear of the gate."""

    authentication_classes = ()
    permission_classes = ()

    def get(self, request: Request) -> Response:
        raise NotImplementedError


def with_plain_views(endpoints: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The endpoints, and those that are not REST framework's."""
    paths = [f"{BASE}/{name}" for name in PLAIN_VIEWS]
    return [*((path, path, "GET", PlainView.as_view()) for path in paths), *endpoints]


def with_common_headers(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """The schema, each answer of which carries the headers that every answer carries."""
    result["components"]["headers"] = COMMON_HEADERS
    common = {name: {"$ref": f"#/components/headers/{name}"} for name in COMMON_HEADERS}
    for path in result["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                answer["headers"] = common | answer.get("headers", {})
    return result


@cache
def document() -> dict[str, Any]:
    """The schema, drawn once for a process: it depends on nothing but the code."""
    generator: Any = SchemaGenerator
    drawn: dict[str, Any] = generator().get_schema(request=None, public=True)
    return drawn


class SchemaView(APIView):
    """`GET /schema`: open, as it tells of no tool, key or call."""

    permission_classes = (AllowAny,)

    def get(self, request: Request) -> Response:
        return Response(document())


class DocsView(APIView):
    """`GET /docs`: the schema as a page, likewise open."""

    permission_classes = (AllowAny,)
    schema = None

    def get(self, request: Request) -> HttpResponse:
        return render(request._request, "docs.html")
