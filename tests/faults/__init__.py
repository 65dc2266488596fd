"""The fault run: real processes under load, killed at random, and every call's story read after."""
