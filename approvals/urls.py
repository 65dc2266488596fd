"""Where calls and approvals live in the API."""

from django.urls import path

from approvals import session_views, views

urlpatterns = [
    path("tools/<str:name>/invoke", views.InvokeView.as_view(), name="invoke"),
    path("invocations", views.InvocationListView.as_view(), name="invocations"),
    path("invocations/<uuid:invocation_id>", views.InvocationView.as_view(), name="invocation"),
    path("invocations/<uuid:invocation_id>/cancel", views.InvocationCancelView.as_view()),
    path("approvals", views.ApprovalListView.as_view(), name="approvals"),
    path("approvals/<uuid:approval_id>", views.ApprovalView.as_view(), name="approval"),
    path("approvals/<uuid:approval_id>/approve", views.DecisionView.as_view(verb="approve")),
    path("approvals/<uuid:approval_id>/reject", views.DecisionView.as_view(verb="reject")),
    path("approvals/<uuid:approval_id>/cancel", views.ApprovalCancelView.as_view()),
    path("sessions", session_views.SessionListView.as_view(), name="sessions"),
    path("sessions/<uuid:session_id>", session_views.SessionView.as_view(), name="session"),
    path("sessions/<uuid:session_id>/provenance", session_views.ProvenanceView.as_view()),
]
