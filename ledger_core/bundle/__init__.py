"""One file for an auditor: a stretch of the ledger with everything that proves it (names: `archive.bundle_names`).

statement   bundle.json: what is in the file, signed
consistency the proof that the trees behind the last batch continue those before the first
matching    which entries were asked for beside a window
openings    personal data of events, pair by pair, under the digests in their entries
page        README.html, for people; chart: what is drawn on it
window      which ranges and entries a stretch of time takes
zip_form    the one spelling of the ZIP file: stored, sorted, without a byte beside
"""
