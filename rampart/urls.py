"""Every address: the API below /api/v1, the admin below /admin."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from rampart import health, metrics, openapi, problems
from rampart.oidc.views import CallbackView, StartView

api: list[URLPattern | URLResolver] = [
    path("health", health.health),
    path("ready", health.ready),
    path("schema", openapi.SchemaView.as_view(), name="schema"),
    path("metrics", metrics.metrics),  # Where ToolRampart has them.
    path("docs", openapi.DocsView.as_view(), name="docs"),
    path("", include("approvals.urls")),
    path("", include("tools.urls")),
    path("", include("audit.urls")),
]

urlpatterns = [
    path("api/v1/", include(api)),
    path("admin/", admin.site.urls),
    path("oidc/authenticate/", StartView.as_view(), name="oidc_authentication_init"),
    path("oidc/callback/", CallbackView.as_view(), name="oidc_authentication_callback"),
    path("metrics", metrics.metrics, name="metrics"),
    path("problems/<slug:code>", problems.explain),
    path("", RedirectView.as_view(pattern_name="admin:index")),
]

handler400 = "rampart.problems.bad_request"
handler403 = "rampart.problems.permission_denied"
handler404 = "rampart.problems.not_found"
handler500 = "rampart.problems.server_error"
