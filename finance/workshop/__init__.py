"""Development only: production imports none of it, and reaches `entrance` by name.

devstack       real servers as child processes      sample_data  events to try the ledger with
demo           the main job on real data            commands     `finance dev`, `finance demo`
guardrails     what guards the repository           compile      hot modules to C
reference      writes the reference pages           entrance     what production may ask for
jar_lock       locks the jars anew             browser      headless Chromium, for tests and the demo
"""
