"""What this deployment is set to.

variables      every environment variable, once
deployment     Settings: read, checked, typed; secret_files: secrets from files
extras         which extra a missing package belongs to
signing, backup   which key signs; where backups go
tls_files, tls_database   certificates, and whether the database is reached by TLS
clock          the time, and new ids; child_environment: what child processes inherit
"""
