"""What this deployment is set to.

variables      every environment variable, once
deployment     Settings: read, checked, typed; secret_files: secrets from files; steering_files: all
               files that steer a process; web_addresses: none with a password in it; dev_stack: what a dev stack lends
extras         which extra a missing package belongs to
signing, key_file   which key signs, and the file that names up to three; mac_waiver; backup: where backups go
tls_files, tls_database   certificates, and whether the database is reached by TLS; file_lock: one process at a time
operators      who an operator is
clock          the time, and new ids; child_environment: what child processes inherit
compiled       which modules run as C
"""
