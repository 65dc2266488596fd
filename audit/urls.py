"""Where the ledger lives in the API."""

from django.urls import path

from audit import views

urlpatterns = [path("audit", views.EventListView.as_view(), name="audit")]
