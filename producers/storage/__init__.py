"""Objects leave: archive_s3 and archive_file, lock_canary (must be refused), backup_s3 and backup_folder, s3_client;
whole_file replaces a file whole."""
