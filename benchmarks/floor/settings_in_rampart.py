"""The bare view behind what every request to Rampart passes: its middleware, its connections."""

from benchmarks.floor import settings as floor
from rampart.settings import *  # noqa: F403 - all of it, but for what follows
from rampart.settings import INSTALLED_APPS

ROOT_URLCONF = floor.ROOT_URLCONF
REST_FRAMEWORK = floor.REST_FRAMEWORK
INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.floor"]
