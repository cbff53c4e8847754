"""Keys: signers (signers_list, signers_approve), rotate, rotate_create, signing_proxy.

key_options is what they share.
"""
