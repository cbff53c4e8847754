"""Proofs: prove, receipt, verify (archive_check, verify_source: beside the topics; verify_page: in a browser;
verify_receipt, verify_consistency), trusted: by which registry. Bundles for auditors: export (bundle_making,
bundle_openings, bundle_ranges, bundle_file), export_tiles: a static log. tree_sources: where trees are read."""
