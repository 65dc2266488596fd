"""The one place where the environment is read. docs/reference/settings.md describes each name."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from rampart.configuration import (
    Configuration,
    all_set,
    database,
    ed25519_seeds,
    fernet_keys,
    fill_in,
    key_set_file,
    layers,
    name_of_at_most,
)
from tools.tokens.keysets import PUBLISHED, chosen_algorithms, secret_fault

BASE_DIR = Path(__file__).resolve().parent.parent

_env = environ.Env()
RAMPART_VAR = Path(_env.str("RAMPART_VAR", default="var")).absolute()
_config = Configuration(_env, fill_in(_env, RAMPART_VAR / "secrets.env"))

# Where it serves.

RAMPART_HOST = _config.text("RAMPART_HOST", "127.0.0.1")
RAMPART_PORT = _config.whole_number("RAMPART_PORT", 8000, 1, 65535)
RAMPART_WEB_WORKERS = _config.whole_number("RAMPART_WEB_WORKERS", 1, 1, 64)
RAMPART_WEB_THREADS = _config.whole_number("RAMPART_WEB_THREADS", 8, 3, 256)
RAMPART_PUBLIC_URL = _config.address("RAMPART_PUBLIC_URL")
_public = urlsplit(RAMPART_PUBLIC_URL)
_secure = _public.scheme == "https"

DEBUG = _config.flag("DEBUG")
ALLOWED_HOSTS = _config.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
if _public.hostname:
    ALLOWED_HOSTS.append(_public.hostname)
    CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
RAMPART_TRUSTED_PROXIES = _config.networks("RAMPART_TRUSTED_PROXIES")
RAMPART_TRUSTED_HEADERS = _config.choice(
    "RAMPART_TRUSTED_HEADERS", "off", ("off", "rampart", "toolrampart")
)
RAMPART_METRICS_ALLOW = _config.networks("RAMPART_METRICS_ALLOW", "127.0.0.0/8,::1/128")

# Secrets.

SECRET_KEY = _config.secret("SECRET_KEY")
if len(SECRET_KEY) < 40:
    raise ImproperlyConfigured("SECRET_KEY: at least 40 characters are needed")
try:
    RAMPART_ARGUMENT_KEYS = fernet_keys(_config.secret("RAMPART_ARGUMENT_KEYS"))
except ValueError as error:
    raise ImproperlyConfigured(f"RAMPART_ARGUMENT_KEYS: {error}") from None
try:
    RAMPART_CHECKPOINT_KEY = ed25519_seeds(_config.secret("RAMPART_CHECKPOINT_KEY", ""))
except ValueError as error:
    raise ImproperlyConfigured(f"RAMPART_CHECKPOINT_KEY: {error}") from None
RAMPART_API_KEY = _config.secret("RAMPART_API_KEY", "")
RAMPART_ENVIRONMENT = _config  # For tools' secrets: they are read when a tool runs, or forgotten.

# Rules.

RAMPART_TOOL_MODULES = _config.words("RAMPART_TOOL_MODULES")
RAMPART_WAIVE_ISOLATION = _config.read("RAMPART_WAIVE_ISOLATION", "", layers)
RAMPART_TOOL_MEMORY_MB = _config.whole_number("RAMPART_TOOL_MEMORY_MB", 1024, 64, 1_000_000)
AUDIT_STAMP = {"waived": list(map(str, RAMPART_WAIVE_ISOLATION))} if RAMPART_WAIVE_ISOLATION else {}
RAMPART_UNRULED_WRITES = _config.choice(
    "RAMPART_UNRULED_WRITES", "allow", ("allow", "hold", "deny")
)
RAMPART_APPROVAL_TTL = _config.duration("RAMPART_APPROVAL_TTL", "24h")
RAMPART_RESULT_RETENTION = _config.duration("RAMPART_RESULT_RETENTION", "24h")
RAMPART_SYNC_WAIT_SECONDS = _config.whole_number("RAMPART_SYNC_WAIT_SECONDS", 20, 0, 60)
RAMPART_MAX_PENDING_PER_KEY = _config.whole_number("RAMPART_MAX_PENDING_PER_KEY", 100, 1, 100_000)
RAMPART_MAX_KEY_LIFETIME = _config.duration("RAMPART_MAX_KEY_LIFETIME", "365d")
RAMPART_GUESSES_PER_MINUTE = _config.whole_number("RAMPART_GUESSES_PER_MINUTE", 20, 1, 100_000)
RAMPART_REFUSALS_PER_MINUTE = _config.whole_number("RAMPART_REFUSALS_PER_MINUTE", 300, 1, 1_000_000)

# How long what is over is kept: a duration, or None for ever.

RAMPART_RETENTION_LEDGER = _config.period("RAMPART_RETENTION_LEDGER", "forever")
RAMPART_RETENTION_CALLS = _config.period("RAMPART_RETENTION_CALLS", "365d")
RAMPART_RETENTION_NOTICES = _config.period("RAMPART_RETENTION_NOTICES", "90d")
RAMPART_RETENTION_SESSIONS = _config.period("RAMPART_RETENTION_SESSIONS", "90d")
RAMPART_RETENTION_KEYS = _config.period("RAMPART_RETENTION_KEYS", "forever")
RAMPART_RETENTION_ADMIN = _config.period("RAMPART_RETENTION_ADMIN", "90d")

# People: how they sign in, and for how long. Names that begin with OIDC_ are mozilla-django-oidc's.

RAMPART_SESSION_AGE = _config.duration("RAMPART_SESSION_AGE", "12h", least="5m")
RAMPART_SESSION_IDLE = _config.duration("RAMPART_SESSION_IDLE", "1h", least="5m")
RAMPART_PASSWORD_SIGN_IN = _config.choice("RAMPART_PASSWORD_SIGN_IN", "on", ("on", "off")) == "on"
RAMPART_OIDC_NAME = _config.text("RAMPART_OIDC_NAME", "single sign-on")
RAMPART_OIDC_GROUPS = _config.pairs("RAMPART_OIDC_GROUPS")
RAMPART_OIDC_GROUPS_CLAIM = _config.text("RAMPART_OIDC_GROUPS_CLAIM", "groups")
OIDC_OP_ISSUER = _config.exact_address("OIDC_OP_ISSUER")
OIDC_OP_AUTHORIZATION_ENDPOINT = _config.exact_address("OIDC_OP_AUTHORIZATION_ENDPOINT")
OIDC_OP_TOKEN_ENDPOINT = _config.exact_address("OIDC_OP_TOKEN_ENDPOINT")
OIDC_OP_USER_ENDPOINT = _config.exact_address("OIDC_OP_USER_ENDPOINT")
OIDC_OP_JWKS_ENDPOINT = _config.exact_address("OIDC_OP_JWKS_ENDPOINT")
OIDC_OP_END_SESSION_ENDPOINT = _config.exact_address("OIDC_OP_END_SESSION_ENDPOINT")
OIDC_RP_CLIENT_ID = _config.text("OIDC_RP_CLIENT_ID")
OIDC_RP_CLIENT_SECRET = _config.secret("OIDC_RP_CLIENT_SECRET", "")
OIDC_RP_SIGN_ALGO = _config.choice("OIDC_RP_SIGN_ALGO", "RS256", sorted(PUBLISHED))
OIDC_RP_SCOPES = _config.text("OIDC_RP_SCOPES", "openid email profile")
OIDC_TOKEN_USE_BASIC_AUTH = _config.flag("OIDC_TOKEN_USE_BASIC_AUTH")
OIDC_CREATE_USER = _config.flag("OIDC_CREATE_USER", "true")
OIDC_USE_PKCE = True
OIDC_TIMEOUT = 5
OIDC_MAX_STATES = 10  # Sign-ins that one browser has begun and not ended.
if OIDC_RP_CLIENT_ID:
    all_set(
        {
            "OIDC_RP_CLIENT_SECRET": OIDC_RP_CLIENT_SECRET,
            "OIDC_OP_ISSUER": OIDC_OP_ISSUER,
            "OIDC_OP_AUTHORIZATION_ENDPOINT": OIDC_OP_AUTHORIZATION_ENDPOINT,
            "OIDC_OP_TOKEN_ENDPOINT": OIDC_OP_TOKEN_ENDPOINT,
            "OIDC_OP_USER_ENDPOINT": OIDC_OP_USER_ENDPOINT,
            "OIDC_OP_JWKS_ENDPOINT": OIDC_OP_JWKS_ENDPOINT,
        },
        because="OIDC_RP_CLIENT_ID",
    )
if "openid" not in OIDC_RP_SCOPES.split():
    raise ImproperlyConfigured("OIDC_RP_SCOPES: openid is not among them")
if not RAMPART_PASSWORD_SIGN_IN:
    all_set({"OIDC_RP_CLIENT_ID": OIDC_RP_CLIENT_ID}, because="RAMPART_PASSWORD_SIGN_IN=off")

AUTHENTICATION_BACKENDS = [
    "rampart.passwords.Lockout",
    "rampart.passwords.Passwords",
    *(["rampart.oidc.backend.Provider"] if OIDC_RP_CLIENT_ID else []),
]
# Wrong passwords are counted by django-axes, for each address.

AXES_LOCKOUT_PARAMETERS = ["ip_address"]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_HANDLER = "rampart.passwords.Failures"
AXES_CLIENT_IP_CALLABLE = "rampart.passwords.counted_address"
AXES_USERNAME_CALLABLE = "rampart.passwords.counted_name"
AXES_LOCKOUT_CALLABLE = "rampart.passwords.locked_out_page"
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

# Tokens that others give out: JSON Web Tokens, and opaque ones that their provider is asked about.

RAMPART_JWT_SECRET = _config.secret("RAMPART_JWT_SECRET", "")
if RAMPART_JWT_SECRET and (_fault := secret_fault(RAMPART_JWT_SECRET)):
    raise ImproperlyConfigured(f"RAMPART_JWT_SECRET: {_fault}")
RAMPART_JWT_JWKS_URL = _config.exact_address("RAMPART_JWT_JWKS_URL")
RAMPART_JWT_JWKS_FILE = _config.read("RAMPART_JWT_JWKS_FILE", "", key_set_file)
if RAMPART_JWT_JWKS_URL and RAMPART_JWT_JWKS_FILE:
    raise ImproperlyConfigured("RAMPART_JWT_JWKS_URL and RAMPART_JWT_JWKS_FILE are both set")
RAMPART_JWT_ALGORITHMS = _config.read(
    "RAMPART_JWT_ALGORITHMS",
    "",
    lambda text: chosen_algorithms(
        text, RAMPART_JWT_SECRET, has_keys=bool(RAMPART_JWT_JWKS_URL or RAMPART_JWT_JWKS_FILE)
    ),
)
RAMPART_JWT_ISSUER = _config.read("RAMPART_JWT_ISSUER", "", name_of_at_most(400))
RAMPART_JWT_AUDIENCE = _config.words("RAMPART_JWT_AUDIENCE")
RAMPART_JWT_ACTOR_CLAIM = _config.text("RAMPART_JWT_ACTOR_CLAIM", "sub")
all_set({"RAMPART_JWT_ACTOR_CLAIM": RAMPART_JWT_ACTOR_CLAIM}, because="a token's holder")
RAMPART_JWT_LEEWAY = _config.duration("RAMPART_JWT_LEEWAY", "30s")
if timedelta(minutes=5) < RAMPART_JWT_LEEWAY:
    raise ImproperlyConfigured("RAMPART_JWT_LEEWAY: clocks differ by 5m at most")
RAMPART_INTROSPECTION_URL = _config.exact_address("RAMPART_INTROSPECTION_URL")
RAMPART_INTROSPECTION_CLIENT_ID = _config.text("RAMPART_INTROSPECTION_CLIENT_ID")
RAMPART_INTROSPECTION_CLIENT_SECRET = _config.secret("RAMPART_INTROSPECTION_CLIENT_SECRET", "")
_introspection: dict[str, object] = {
    "RAMPART_INTROSPECTION_URL": RAMPART_INTROSPECTION_URL,
    "RAMPART_INTROSPECTION_CLIENT_ID": RAMPART_INTROSPECTION_CLIENT_ID,
    "RAMPART_INTROSPECTION_CLIENT_SECRET": RAMPART_INTROSPECTION_CLIENT_SECRET,
}
if any(_introspection.values()):
    all_set(_introspection, because="introspection")

# Notices: mail by Django's own names, and receivers of webhooks that may be in a private network.

EMAIL_HOST = _config.text("EMAIL_HOST")
EMAIL_PORT = _config.whole_number("EMAIL_PORT", 25, 1, 65535)
EMAIL_HOST_USER = _config.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = _config.secret("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = _config.flag("EMAIL_USE_TLS")
EMAIL_USE_SSL = _config.flag("EMAIL_USE_SSL")
if EMAIL_USE_TLS and EMAIL_USE_SSL:
    raise ImproperlyConfigured("EMAIL_USE_TLS and EMAIL_USE_SSL are both set: keep one")
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = _config.text("DEFAULT_FROM_EMAIL", "rampart@localhost")
RAMPART_INTERNAL_RECEIVERS = [host.lower() for host in _config.words("RAMPART_INTERNAL_RECEIVERS")]

# Stores.

DATABASES = {"default": database(_config.secret("DATABASE_URL", ""), RAMPART_VAR)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
REDIS_URL = _config.secret("REDIS_URL", "")
if REDIS_URL and not REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
    raise ImproperlyConfigured("REDIS_URL: not an address such as redis://localhost:6379/0")

# Celery. Messages hold ids only; nothing but JSON is read.

_BROKER = RAMPART_VAR / "broker"
CELERY_BROKER_URL = REDIS_URL or "filesystem://localhost//"
CELERY_BROKER_TRANSPORT_OPTIONS = (
    {"socket_connect_timeout": 1, "socket_timeout": 5, "max_retries": 0}
    if REDIS_URL
    else {
        "data_folder_in": str(_BROKER / "messages"),
        "data_folder_out": str(_BROKER / "messages"),
        "control_folder": str(_BROKER / "control"),
        "polling_interval": 0.02,
    }
)
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_CREATE_MISSING_QUEUES = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = bool(REDIS_URL)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"
CELERY_DB_REUSE_MAX = 1000  # Else each task connects to the database anew.
CELERY_BEAT_SCHEDULE_FILENAME = str(RAMPART_VAR / "celerybeat-schedule")

# Prometheus: prometheus_client reads this name from the environment, wherever it is imported.

PROMETHEUS_MULTIPROC_DIR = str(RAMPART_VAR / "metrics")
_env.ENVIRON["PROMETHEUS_MULTIPROC_DIR"] = PROMETHEUS_MULTIPROC_DIR

# Django.

INSTALLED_APPS = [
    "rampart.apps.RampartAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "axes",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "audit",
    "tools",
    "approvals",
    "rampart.apps.RampartConfig",
]
MIDDLEWARE = [
    "rampart.metrics.ByViewMiddleware",
    "rampart.middleware.TrustedHeadersMiddleware",
    "rampart.middleware.RequestIdMiddleware",
    "rampart.middleware.SecurityHeadersMiddleware",
    "rampart.middleware.PlainRequestMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "rampart.sessions.IdleMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "rampart.urls"
WSGI_APPLICATION = "rampart.wsgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
    )
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 2**20

# The browser's side.

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = int(RAMPART_SESSION_AGE.total_seconds())
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "rampart.problems.csrf_failure"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _secure
SECURE_HSTS_SECONDS = 31_536_000 if _secure else 0
if _secure:
    # TLS ends at a proxy; whoever forges this header only makes the checks stricter for himself.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_CSP = {
    "default-src": ["'self'"],
    "img-src": ["'self'", "data:"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "tools.authentication.CredentialAuthentication",
        "tools.authentication.ProxyAuthentication",
        "tools.authentication.PersonAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["rampart.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "rampart.parsers.AlwaysJSON",
    "DEFAULT_PAGINATION_CLASS": "rampart.pagination.OpaqueCursor",
    "DEFAULT_SCHEMA_CLASS": "rampart.openapi.Schema",
    "EXCEPTION_HANDLER": "rampart.problems.handle",
    "UNICODE_JSON": False,  # A tool's result may hold half a surrogate pair, which UTF-8 can't.
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Rampart",
    "DESCRIPTION": "Approvals between AI agents and the tools that can do harm.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SORT_OPERATIONS": False,
    "SORT_OPERATION_PARAMETERS": False,
    "PREPROCESSING_HOOKS": ["rampart.openapi.with_plain_views"],
    "POSTPROCESSING_HOOKS": ["rampart.openapi.with_common_headers"],
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {"django.request": {"level": "ERROR"}, "axes": {"level": "ERROR"}},
}
