"""One view."""

from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from benchmarks.floor.models import Key, Line


class CallView(APIView):
    """Find the key, write the line, answer."""

    def post(self, request: Request) -> Response:
        key = Key.objects.get(text=request.headers["X-Key"])
        line = Line.objects.create(key=key, arguments=request.data["arguments"])
        return Response({"status": "success", "id": line.pk, "data": {"sum": 3}})


urlpatterns = [path("call", CallView.as_view())]
