"""The settings of a deployment, read in this process with an environment of the test's own."""

import runpy
from typing import Any
from unittest import mock

import environ
import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.processes import ROOT, Deployment


def read(deployment: Deployment, **environment: str) -> dict[str, Any]:
    """What `rampart/settings.py` makes of an environment of the test's own."""
    given = {"RAMPART_VAR": str(deployment.folder), **environment}
    with mock.patch.object(environ.Env, "ENVIRON", given):
        return runpy.run_path(str(ROOT / "rampart" / "settings.py"))


def refusal(deployment: Deployment, **environment: str) -> str:
    """The sentence with which the settings refuse this environment."""
    with pytest.raises(ImproperlyConfigured) as refused:
        read(deployment, **environment)
    assert "\n" not in str(refused.value)
    return str(refused.value)
