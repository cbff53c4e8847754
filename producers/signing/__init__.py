"""Keys that sign, one service a file.

verified_signer      signed or silent: a key service becomes a signer here
kms, kms_client      AWS KMS; kms_mac: a MAC by a key there; kms_mac_key: one that signs range proofs
pkcs11               a hardware security module
transit              OpenBao and Vault; proxy: our signing proxy; https_exchange: how both are asked
local                a key in memory: tests, drills
key_maker, key_maker_*   making a key inside its service
"""
