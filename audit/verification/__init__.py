"""Verification: is everything in the ledger as it was written, sealed and signed?

`verify` judges the ledger where it is kept, `verify_export` a file that was taken from it, without
any database. Both stop at the first fault and name it.
"""

from audit.verification.database import verify
from audit.verification.exports import verify_export
from audit.verification.judging import CouldNotVerify, Finding, Progress, Report

__all__ = ["CouldNotVerify", "Finding", "Progress", "Report", "verify", "verify_export"]
