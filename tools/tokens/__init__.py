"""Tokens that others give out: JSON Web Tokens, and opaque ones that their provider is asked about.

holders ─┬─> trust ─> introspection ─> checking ─> issuers ─> jwks ─> fetching
         ├─> people, subjects ─> claims                         └─> keysets
         └─> reading
"""
