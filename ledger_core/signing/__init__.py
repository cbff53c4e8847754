"""Who signed, and whether it counts.

mac_keys         MAC keys: without a public key, checked by asking their service
signatures       public keys and signatures: what is accepted; key_rules: of keys
counting         whether a signature counts: the one question every reader asks
statements       the one form of everything that is signed
notes            C2SP signed notes
registry         which key stands behind a kid (registered_signer, signer_form); registry_edit changes its file
validity         for which stretch of the record a key counts; pinned_heads: where it ended
purposes         for which kinds of statements it counts
rotation         a key rotation, as the audit chain records it
pinned_signer    a signer whose every signature is verified before it is used
"""
