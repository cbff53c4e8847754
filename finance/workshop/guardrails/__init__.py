"""What guards the repository itself: `python -m finance.workshop.guardrails`, or `make scan`.

key_scan         no secret among the files git tracks; scanner: the maintained scanner beside our rules
lock_file        requirements.lock in step; vulnerabilities: known ones of what is pinned
bill             software bill of materials, licences
outcome          what a guardrail returns
"""
