"""What guards the repository itself: secrets, lock file, vulnerabilities, software bill of materials, licences.

`python -m finance.workshop.guardrails` (or `make scan`) runs all of it. Nothing here is needed to run the service.
"""
