"""Where the ledger lives in the API."""

from django.urls import path

from audit import views

urlpatterns = [
    path("audit", views.EventListView.as_view(), name="audit"),
    path("audit/checkpoint", views.CheckpointView.as_view(), name="checkpoint"),
    path("audit/consistency", views.ConsistencyView.as_view(), name="consistency"),
    path("audit/<uuid:event_id>/proof", views.ProofView.as_view(), name="proof"),
]
